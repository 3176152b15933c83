"""Tests of the Cluster: pure, without a kernel."""
