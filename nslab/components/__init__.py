"""Each component turns a Cluster into its part of the wanted NetState: vpc, cni, kube_proxy, ip_masq and so on.

Every module here has one public function, `desired(cluster) -> NetState`; `desired.desired` joins them. Components
never import each other and never touch a kernel.
"""
