"""Objects and leases become one immutable Cluster: who runs where, with which address, behind which Service.

Here live expansion of workloads to Pods, scheduling, address management with sticky leases, endpoints, and the
names that everything has. All of it is pure: the same objects and leases give the same Cluster. Here never live
links or rules.
"""
