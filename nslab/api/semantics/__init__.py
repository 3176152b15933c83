"""The rules beyond an object's shape, one module a subject: the API server's own validation, and the lab's.

Rules read bodies out of which everything misshapen has been cut, so any field may be missing; they add findings and
never raise.
"""

from __future__ import annotations

from collections.abc import Sequence

from nslab.api.findings import Entry, Findings
from nslab.api.objects import LabSpec
from nslab.api.semantics import (
    addresses,
    capacity,
    dns,
    endpoints,
    faults,
    ingresses,
    pods,
    policies,
    references,
    services,
    vpc,
)
from nslab.api.semantics.names import check_duplicates, check_metadata

__all__ = ["check", "check_alone", "check_duplicates", "check_metadata"]

_ALONE = {
    "Service": services.check,
    "NetworkPolicy": policies.check,
    "ClusterNetworkPolicy": policies.check_cluster_wide,
    "AdminNetworkPolicy": policies.check_cluster_wide,
    "BaselineAdminNetworkPolicy": policies.check_cluster_wide,
    "Ingress": ingresses.check,
    "Endpoints": endpoints.check_endpoints,
    "EndpointSlice": endpoints.check_slice,
    "ConfigMap": dns.check_config,
    "Fault": faults.check,
}


def check(lab_entry: Entry | None, lab: LabSpec, entries: Sequence[Entry], findings: Findings) -> None:
    """Every rule about the objects: first each alone, then all together in their lab."""
    templates = [template for entry in entries if (template := pods.template_of(entry))]
    for entry in entries:
        check_alone(entry, findings)
    ranges = vpc.check(lab_entry, lab, entries, findings)
    addresses.check(lab_entry, lab, ranges, entries, findings)
    dns.check(lab_entry, lab, ranges, findings)
    capacity.check(lab_entry, lab, templates, findings)
    references.check(entries, templates, findings)
    policies.check_enforced(lab, entries, findings)
    faults.check_targets(lab, entries, findings)


def check_alone(entry: Entry, findings: Findings) -> None:
    """The rules that an object is judged by without knowing any other, nor its lab."""
    rule = _ALONE.get(entry.object.kind)
    if rule:
        rule(entry, findings)
    template = pods.template_of(entry)
    if template:
        pods.check(template, findings)
