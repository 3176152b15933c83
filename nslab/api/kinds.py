"""The kinds of objects that a lab knows: what they are called, which versions are served, what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["carried", "ignored", "later"]
"""carried: the network depends on it. ignored: it carries nothing for the network. later: it would, but is not
supported yet (it passes with a warning)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table. `versions` are the apiVersions that are read, the current one first; every later one has
    the current one's shape. `retired` are apiVersions of another shape, which are refused with a remedy.
    `definition` is the name of the published JSON Schema, or empty for a schema of our own (or none)."""

    name: str
    plural: str
    versions: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    role: Role = "carried"
    definition: str = ""
    retired: tuple[str, ...] = ()

    @property
    def singular(self) -> str:
        return self.name.lower()

    @property
    def api_version(self) -> str:
        """The current apiVersion."""
        return self.versions[0]

    @property
    def group(self) -> str:
        """The API group, empty for the core group."""
        return group_of(self.versions[0])


def group_of(api_version: str) -> str:
    return api_version.rpartition("/")[0]


OWN_GROUP: Final = "nslab.dev"
"""The API group of nslab's own kinds."""

_CORE: Final = "io.k8s.api.core.v1."
_APPS: Final = "io.k8s.api.apps.v1."
_NETWORKING: Final = "io.k8s.api.networking.v1."
_OLD_APPS: Final = ("apps/v1", "apps/v1beta2", "apps/v1beta1", "extensions/v1beta1")
_GKE: Final = "networking.gke.io/"
_GATEWAY: Final = (
    "gateway.networking.k8s.io/v1",
    "gateway.networking.k8s.io/v1beta1",
    "networking.x-k8s.io/v1alpha1",
)
_POLICY: Final = "policy.networking.k8s.io/"


def _ignored(name: str, plural: str, group: str, *short: str, namespaced: bool = True) -> Kind:
    """A kind that carries nothing for the network; any version of its group is read."""
    version = f"{group}/v1" if group else "v1"
    return Kind(name, plural, (version,), short, namespaced, "ignored")


def _later(name: str, plural: str, versions: tuple[str, ...], *short: str, namespaced: bool = True) -> Kind:
    return Kind(name, plural, versions, short, namespaced, "later")


_CARRIED: Final = (
    Kind("Lab", "labs", (f"{OWN_GROUP}/v1",), (), False),
    Kind("Fault", "faults", (f"{OWN_GROUP}/v1",), (), False),
    Kind("Namespace", "namespaces", ("v1",), ("ns",), False, definition=_CORE + "Namespace"),
    Kind("Node", "nodes", ("v1",), ("no",), False, definition=_CORE + "Node"),
    Kind("Pod", "pods", ("v1",), ("po",), definition=_CORE + "Pod"),
    Kind("Deployment", "deployments", _OLD_APPS, ("deploy",), definition=_APPS + "Deployment"),
    Kind("ReplicaSet", "replicasets", ("apps/v1", "apps/v1beta2", "extensions/v1beta1"), ("rs",),
         definition=_APPS + "ReplicaSet"),
    Kind("ReplicationController", "replicationcontrollers", ("v1",), ("rc",),
         definition=_CORE + "ReplicationController"),
    Kind("StatefulSet", "statefulsets", ("apps/v1", "apps/v1beta2", "apps/v1beta1"), ("sts",),
         definition=_APPS + "StatefulSet"),
    Kind("DaemonSet", "daemonsets", ("apps/v1", "apps/v1beta2", "extensions/v1beta1"), ("ds",),
         definition=_APPS + "DaemonSet"),
    Kind("Job", "jobs", ("batch/v1",), (), definition="io.k8s.api.batch.v1.Job"),
    Kind("Service", "services", ("v1",), ("svc",), definition=_CORE + "Service"),
    Kind("Endpoints", "endpoints", ("v1",), ("ep",), definition=_CORE + "Endpoints"),
    Kind("EndpointSlice", "endpointslices", ("discovery.k8s.io/v1",), (),
         definition="io.k8s.api.discovery.v1.EndpointSlice", retired=("discovery.k8s.io/v1beta1",)),
    Kind("NetworkPolicy", "networkpolicies", ("networking.k8s.io/v1", "extensions/v1beta1"), ("netpol",),
         definition=_NETWORKING + "NetworkPolicy"),
    Kind("ClusterNetworkPolicy", "clusternetworkpolicies", (_POLICY + "v1alpha2",), ("cnp",), False),
    Kind("AdminNetworkPolicy", "adminnetworkpolicies", (_POLICY + "v1alpha1",), ("anp",), False),
    Kind("BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies", (_POLICY + "v1alpha1",), ("banp",), False),
    Kind("Ingress", "ingresses", ("networking.k8s.io/v1",), ("ing",), definition=_NETWORKING + "Ingress",
         retired=("networking.k8s.io/v1beta1", "extensions/v1beta1")),
    Kind("IngressClass", "ingressclasses", ("networking.k8s.io/v1", "networking.k8s.io/v1beta1"), (), False,
         definition=_NETWORKING + "IngressClass"),
    Kind("Secret", "secrets", ("v1",), (), definition=_CORE + "Secret"),
    Kind("ConfigMap", "configmaps", ("v1",), ("cm",), definition=_CORE + "ConfigMap"),
    Kind("BackendConfig", "backendconfigs", ("cloud.google.com/v1", "cloud.google.com/v1beta1"), ("bc",)),
    Kind("FrontendConfig", "frontendconfigs", (_GKE + "v1beta1",)),
    Kind("ManagedCertificate", "managedcertificates", (_GKE + "v1", _GKE + "v1beta2", _GKE + "v1beta1"), ("mcrt",)),
)  # fmt: skip

_WITHOUT_NETWORK: Final = (
    _ignored("ServiceAccount", "serviceaccounts", "", "sa"),
    _ignored("PersistentVolume", "persistentvolumes", "", "pv", namespaced=False),
    _ignored("PersistentVolumeClaim", "persistentvolumeclaims", "", "pvc"),
    _ignored("ResourceQuota", "resourcequotas", "", "quota"),
    _ignored("LimitRange", "limitranges", "", "limits"),
    _ignored("PodTemplate", "podtemplates", ""),
    _ignored("Event", "events", "", "ev"),
    _ignored("ControllerRevision", "controllerrevisions", "apps"),
    _ignored("Role", "roles", "rbac.authorization.k8s.io"),
    _ignored("RoleBinding", "rolebindings", "rbac.authorization.k8s.io"),
    _ignored("ClusterRole", "clusterroles", "rbac.authorization.k8s.io", namespaced=False),
    _ignored("ClusterRoleBinding", "clusterrolebindings", "rbac.authorization.k8s.io", namespaced=False),
    _ignored("HorizontalPodAutoscaler", "horizontalpodautoscalers", "autoscaling", "hpa"),
    _ignored("VerticalPodAutoscaler", "verticalpodautoscalers", "autoscaling.k8s.io", "vpa"),
    _ignored("MultidimPodAutoscaler", "multidimpodautoscalers", "autoscaling.gke.io", "mpa"),
    _ignored("PodDisruptionBudget", "poddisruptionbudgets", "policy", "pdb"),
    _ignored("PodSecurityPolicy", "podsecuritypolicies", "policy", "psp", namespaced=False),
    _ignored("PriorityClass", "priorityclasses", "scheduling.k8s.io", "pc", namespaced=False),
    _ignored("StorageClass", "storageclasses", "storage.k8s.io", "sc", namespaced=False),
    _ignored("CSIDriver", "csidrivers", "storage.k8s.io", namespaced=False),
    _ignored("VolumeSnapshot", "volumesnapshots", "snapshot.storage.k8s.io", "vs"),
    _ignored("VolumeSnapshotClass", "volumesnapshotclasses", "snapshot.storage.k8s.io", namespaced=False),
    _ignored("CronJob", "cronjobs", "batch", "cj"),
    _ignored("Lease", "leases", "coordination.k8s.io"),
    _ignored("RuntimeClass", "runtimeclasses", "node.k8s.io", namespaced=False),
    _ignored("CustomResourceDefinition", "customresourcedefinitions", "apiextensions.k8s.io", "crd",
             namespaced=False),
    _ignored("APIService", "apiservices", "apiregistration.k8s.io", namespaced=False),
    _ignored("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "admissionregistration.k8s.io",
             namespaced=False),
    _ignored("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "admissionregistration.k8s.io",
             namespaced=False),
    _ignored("ValidatingAdmissionPolicy", "validatingadmissionpolicies", "admissionregistration.k8s.io",
             namespaced=False),
    _ignored("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", "admissionregistration.k8s.io",
             namespaced=False),
    _ignored("CertificateSigningRequest", "certificatesigningrequests", "certificates.k8s.io", "csr",
             namespaced=False),
    _ignored("FlowSchema", "flowschemas", "flowcontrol.apiserver.k8s.io", namespaced=False),
    _ignored("PriorityLevelConfiguration", "prioritylevelconfigurations", "flowcontrol.apiserver.k8s.io",
             namespaced=False),
    _ignored("ComputeClass", "computeclasses", "cloud.google.com", namespaced=False),
    _ignored("ServiceMonitor", "servicemonitors", "monitoring.coreos.com"),
    _ignored("PodMonitor", "podmonitors", "monitoring.coreos.com"),
    _ignored("PrometheusRule", "prometheusrules", "monitoring.coreos.com"),
    _ignored("PodMonitoring", "podmonitorings", "monitoring.googleapis.com"),
    _ignored("ClusterPodMonitoring", "clusterpodmonitorings", "monitoring.googleapis.com", namespaced=False),
)  # fmt: skip

_LATER: Final = (
    _later("Gateway", "gateways", _GATEWAY, "gtw"),
    _later("GatewayClass", "gatewayclasses", _GATEWAY, "gc", namespaced=False),
    _later("HTTPRoute", "httproutes", _GATEWAY),
    _later("GRPCRoute", "grpcroutes", _GATEWAY),
    _later("TCPRoute", "tcproutes", _GATEWAY),
    _later("UDPRoute", "udproutes", _GATEWAY),
    _later("TLSRoute", "tlsroutes", _GATEWAY),
    _later("ReferenceGrant", "referencegrants", _GATEWAY, "refgrant"),
    _later("BackendTLSPolicy", "backendtlspolicies", _GATEWAY),
    _later("ServiceExport", "serviceexports", ("net.gke.io/v1", "multicluster.x-k8s.io/v1alpha1")),
    _later("ServiceImport", "serviceimports", ("net.gke.io/v1", "multicluster.x-k8s.io/v1alpha1")),
    _later("ServiceDirectoryRegistrationPolicy", "servicedirectoryregistrationpolicies", (_GKE + "v1beta1",)),
    _later("GCPBackendPolicy", "gcpbackendpolicies", (_GKE + "v1",)),
    _later("GCPGatewayPolicy", "gcpgatewaypolicies", (_GKE + "v1",)),
    _later("HealthCheckPolicy", "healthcheckpolicies", (_GKE + "v1",)),
    _later("GKENetworkParamSet", "gkenetworkparamsets", (_GKE + "v1",), namespaced=False),
    _later("Network", "networks", (_GKE + "v1",), namespaced=False),
    _later("ServiceAttachment", "serviceattachments", (_GKE + "v1",)),
    _later("EgressNATPolicy", "egressnatpolicies", (_GKE + "v1",), namespaced=False),
)

KINDS: Final[tuple[Kind, ...]] = (*_CARRIED, *_WITHOUT_NETWORK, *_LATER)

_BY_KIND: Final = {
    (group_of(version), kind.name): kind for kind in KINDS for version in (*kind.versions, *kind.retired)
}
_BY_WORD: Final = {
    word: kind for kind in reversed(KINDS) for word in (kind.plural, kind.singular, *kind.short_names)
}


GROUPS: Final = frozenset(group for group, _ in _BY_KIND)
"""Every API group that has a row."""


def find(api_version: str, name: str) -> Kind | None:
    """The row of a kind in an API group, whatever the version; None where the lab knows none."""
    return _BY_KIND.get((group_of(api_version), name))


def by_word(word: str) -> Kind | None:
    """The row that a plural, singular or short name means on the command line, in any case."""
    return _BY_WORD.get(word.lower())


def by_name(name: str) -> tuple[Kind, ...]:
    """The rows with this `kind:`, of any API group."""
    return tuple(kind for kind in KINDS if kind.name == name)
