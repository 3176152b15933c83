"""What a kernel holds, wanted or observed, in rtnetlink's and nft's words.

Here live the state of a lab's network namespaces (`model`), the difference of two states (`diff`) and the
operations that lead from one to the other (`operations`, each of which can say itself as an `ip`, `nft` or `sysctl`
line). Here never live sockets, nor what the links and rules are for.
"""
