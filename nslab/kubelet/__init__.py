"""The nodes' kubelets: containers and their probes, the status and the end of Pods, what nodes say of themselves.

Here live the processes of `image: host` and the verdicts over Pods. Here never live rules or links: a kubelet is told
of Pods whose network stands.
"""
