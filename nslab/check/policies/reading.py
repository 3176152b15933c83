"""Policies out of objects, in the order in which they are evaluated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from nslab.api.objects import Body, Object
from nslab.check.policies.model import Action, Direction, Policy, Rule, Tier

_DIRECTIONS: Final[tuple[tuple[Direction, str], ...]] = (("ingress", "from"), ("egress", "to"))
_ACTIONS: Final[dict[str, Action]] = {"Accept": "Accept", "Allow": "Accept", "Deny": "Deny", "Pass": "Pass"}
_AFTER_ALL: Final = 1001
"""The priority of the BaselineAdminNetworkPolicy, which has none: after the ClusterNetworkPolicies of its tier."""


def read(objects: Iterable[Object]) -> list[Policy]:
    """All policies; those of one tier by priority, and by name where two have the same: the specification leaves
    open which of these applies."""
    policies = [policy for item in objects if (policy := _policy(item))]
    return sorted(policies, key=lambda policy: (policy.priority, policy.namespace, policy.name, policy.kind))


def _policy(item: Object) -> Policy | None:
    spec: Body = item.body.get("spec") or {}
    match item.kind:
        case "NetworkPolicy":
            subject = {"podSelector": spec.get("podSelector") or {}}
            return Policy(item.kind, item.namespace, item.name, "NetworkPolicy", 0, subject, _allowances(spec))
        case "ClusterNetworkPolicy":
            tier: Tier = "Baseline" if spec.get("tier") == "Baseline" else "Admin"
            return Policy(item.kind, "", item.name, tier, spec["priority"], spec["subject"], _orders(spec))
        case "AdminNetworkPolicy":
            return Policy(item.kind, "", item.name, "Admin", spec["priority"], spec["subject"], _orders(spec))
        case "BaselineAdminNetworkPolicy":
            return Policy(item.kind, "", item.name, "Baseline", _AFTER_ALL, spec["subject"], _orders(spec))
    return None


def _allowances(spec: Body) -> dict[Direction, tuple[Rule, ...]]:
    """The rules of a NetworkPolicy, in the directions of its policyTypes. Without these it speaks of ingress, and of
    egress as well once it has an egress rule (networking/v1 defaults)."""
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return {
        direction: tuple(
            Rule(f"spec.{direction}[{index}]", "Accept", _some(rule.get(peers)), _some(rule.get("ports")))
            for index, rule in enumerate(spec.get(direction) or ())
        )
        for direction, peers in _DIRECTIONS if direction.capitalize() in types
    }


def _orders(spec: Body) -> dict[Direction, tuple[Rule, ...]]:
    """The rules of a cluster-wide policy, which bears on a direction only by them."""
    return {
        direction: tuple(
            Rule(
                f"spec.{direction}[{index}]", _ACTIONS[rule["action"]], tuple(rule.get(peers) or ()),
                _some(rule.get("protocols") or rule.get("ports")), rule.get("name") or "",
            )
            for index, rule in enumerate(spec.get(direction) or ())
        )
        for direction, peers in _DIRECTIONS
    }


def _some(items: Any) -> tuple[Body, ...] | None:
    """A missing, null or empty list restricts nothing."""
    return tuple(items) if items else None
