"""Controllers: what Kubernetes' own do to the objects of a lab, as far as the network and a reader of them can tell.

Each is level-triggered: it is told which object may need work, looks at what is there, and takes one step towards
what is wished. Here live the work queue, the workloads, the scheduler, node lifecycle, endpoints and garbage
collection. They know a store and a clock, both given to them; here never live sockets, files, links or rules.
"""
