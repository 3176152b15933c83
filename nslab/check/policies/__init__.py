"""What network policies say of a connection, straight from their specifications: who may talk to whom, and why.

The evaluator reads NetworkPolicy (networking.k8s.io/v1) and ClusterNetworkPolicy (policy.networking.k8s.io, with its
predecessors AdminNetworkPolicy and BaselineAdminNetworkPolicy), and decides one connection at a time. It shares no
code with the component that compiles policies to rules: packets say whether the two agree. Here never live sets,
groups or anything else that makes decisions fast.
"""
