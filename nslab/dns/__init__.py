"""Cluster DNS as pure functions: zones made of a Cluster's Services, and the answer to a query's octets.

Here live the wire format, the cluster's zone and the internet's, what is asked elsewhere and what was remembered of
it. Sockets and clocks never do: `servers/dns_doors.py` has them.
"""
