"""Which Pods the selectors of all policies choose, found by label, so that many policies cost a Pod little."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nslab.components.policies.rules import Chosen, Policy, Requirements, meets

_Label = tuple[str, str]


class Choice(NamedTuple):
    """What concerns one Pod: the policies that select it, in the order of evaluation, and the peers it is."""

    policies: tuple[Policy, ...]
    peers: frozenset[Chosen]


class Selection:
    """The selectors of `policies`, which are in the order of evaluation. Compared by identity."""

    def __init__(self, policies: tuple[Policy, ...]) -> None:
        self._subjects: dict[Chosen, list[int]] = {}
        self._policies = policies
        for position, policy in enumerate(policies):
            self._subjects.setdefault(policy.subject, []).append(position)
        rules = [rule for policy in policies for direction in policy.rules.values() for rule in direction]
        peers = {chosen for rule in rules for chosen in rule.chosen}
        self._with_label: dict[tuple[str, _Label], list[Chosen]] = {}
        self._of_namespace: dict[str, list[Chosen]] = {}
        for chosen in peers | self._subjects.keys():
            labels = _labels(chosen.pods)
            for label in labels:
                self._with_label.setdefault((chosen.namespace, label), []).append(chosen)
            if not labels:
                self._of_namespace.setdefault(chosen.namespace, []).append(chosen)

    def of(self, namespace: str, labels: Mapping[str, str], namespace_labels: Mapping[str, str]) -> Choice:
        """What concerns a Pod of these labels."""
        found = frozenset(
            chosen for chosen in self._candidates(namespace, labels)
            if meets(chosen.pods, labels) and meets(chosen.namespaces, namespace_labels)
        )
        positions = sorted(position for chosen in found for position in self._subjects.get(chosen, ()))
        return Choice(tuple(self._policies[position] for position in positions), found)

    def _candidates(self, namespace: str, labels: Mapping[str, str]) -> Iterable[Chosen]:
        """All that may choose the Pod, some of them more than once."""
        for place in (namespace, ""):
            yield from self._of_namespace.get(place, ())
            for label in labels.items():
                yield from self._with_label.get((place, label), ())


def _labels(wanted: Requirements) -> list[_Label]:
    """Labels of which whoever meets the requirements has one; none where there is no such list."""
    for key, operator, values in wanted:
        if operator == "In":
            return [(key, value) for value in values]
    return []
