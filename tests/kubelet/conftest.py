"""The kubelet's probes are tried in the network of the servers that they ask."""

from tests.servers.conftest import network, responder

__all__ = ["network", "responder"]
