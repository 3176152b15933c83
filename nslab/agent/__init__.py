"""The lab's own process: it holds the objects and leases, converges the kernel to them and keeps containers running.

Here live the walk from objects to kernel (`converge`), the state on disk (`store`), the containers' life and the
control socket. Here never lives presentation.
"""
