"""nslab: the network of a Kubernetes (GKE) cluster on one Linux machine, with real packets and no cluster."""

__version__ = "0.1.0"
