"""What a lab must do and whether it does: expectations from the objects, probes by real packets, reports.

Expectations come straight from the Cluster and share no code with the components that make rules. Here never live
rules, nor any repair.
"""
