"""The lab's own process: it holds the objects and leases, and converges the kernel to them.

Here live the walk from objects to kernel (`converge`), the state on disk (`store`) and the control socket. Here never
lives presentation.
"""
