"""The only room that touches the kernel: network namespaces, rtnetlink, nftables, sysctl, conntrack, processes.

`kernel.Kernel` is the protocol that the rest of nslab sees; `real` carries it out and `fake` is a model of it for
unit tests, held to the same conformance suite. Feature probes with remedies live here too. Here never live
Kubernetes words: a netns, a link, a table is all this room knows.
"""
