"""The nouns of a decision: policies as read, the two ends of a connection, and the answer with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from nslab.api.objects import Body
from nslab.cluster.model import Node, Pod

Direction = Literal["ingress", "egress"]
Action = Literal["Accept", "Deny", "Pass"]
Tier = Literal["Admin", "NetworkPolicy", "Baseline"]

@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one direction. `path` is its place in the policy ("spec.ingress[0]"), `name` what the policy calls
    it. `peers` and `ports` are as written; None where the rule has none and so matches any."""

    path: str
    action: Action
    peers: tuple[Body, ...] | None
    ports: tuple[Body, ...] | None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of any kind. `priority` orders the policies of a tier, lower ones first; NetworkPolicies have none.

    `rules` has the directions that the policy speaks of: a NetworkPolicy isolates in just these, and the others are
    none of its business.
    """

    kind: str
    namespace: str
    name: str
    tier: Tier
    priority: int
    subject: Body
    rules: dict[Direction, tuple[Rule, ...]]

    @property
    def reference(self) -> str:
        """`NetworkPolicy shop/deny`, as messages name it."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection: an address, and the Pod whose own it is, or the node (never both).

    A hostNetwork Pod has no address of its own: it counts as its node.
    """

    ip: str
    pod: Pod | None = None
    node: Node | None = None

    def __str__(self) -> str:
        if self.pod:
            return f"pod/{self.pod.key}"
        return f"node/{self.node.name}" if self.node else self.ip


@dataclass(frozen=True, slots=True)
class Connection:
    """What is asked for: from `source` to `port` of `destination`, as the Pods' nodes see it after translation.

    `protocol` is TCP, UDP, SCTP, or another's name, such as ICMP, whose `port` has no meaning.
    """

    source: End
    destination: End
    port: int
    protocol: str

    @property
    def service(self) -> str:
        """Protocol and port: `TCP 80`, `ICMP`."""
        return f"{self.protocol} {self.port}" if self.protocol in ("TCP", "UDP", "SCTP") else self.protocol

    def peer(self, direction: Direction) -> End:
        """The other end, from the point of view of the Pod that the direction belongs to."""
        return self.source if direction == "ingress" else self.destination

    def subject(self, direction: Direction) -> End:
        """The end whose policies of this direction count."""
        return self.destination if direction == "ingress" else self.source


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at on the way to a verdict: a policy or a rule of it, and what it said."""

    tier: str
    policy: str
    rule: str
    says: str
    decides: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policies of one Pod say in one direction; `because` is the reason in a sentence."""

    direction: Direction
    subject: str
    allowed: bool
    because: str
    steps: tuple[Step, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "direction": self.direction, "subject": self.subject, "allowed": self.allowed, "because": self.because,
            "steps": [
                {"tier": step.tier, "policy": step.policy, "rule": step.rule, "says": step.says,
                 "decides": step.decides}
                for step in self.steps
            ],
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a connection is allowed: both ends must allow it. `verdicts` are egress of the source, then ingress of
    the destination, of those ends that are Pods with an address of their own."""

    connection: Connection
    verdicts: tuple[Verdict, ...]

    @property
    def allowed(self) -> bool:
        return all(verdict.allowed for verdict in self.verdicts)

    @property
    def because(self) -> str:
        """The reason: of the first denial, or of each permission."""
        denials = [verdict.because for verdict in self.verdicts if not verdict.allowed]
        reasons = denials[:1] or [verdict.because for verdict in self.verdicts]
        return "; ".join(reasons) or "no end is a Pod with an address of its own"

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies whose rules or isolation decided."""
        found = (step.policy for verdict in self.verdicts for step in verdict.steps if step.decides and step.policy)
        return tuple(dict.fromkeys(found))
