"""Names, labels and selectors: the syntax of k8s.io/apimachinery/pkg/util/validation, and no name twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from nslab.api.findings import Entry, Findings, Step
from nslab.api.kinds import Kind
from nslab.api.objects import Body

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE: Final = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_PART_LENGTH: Final = 63
_PORT_NAME_LENGTH: Final = 15
_PORT_NAME_FAULTS: Final = (
    (re.compile(r"[^-a-z0-9]"), "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
    (re.compile(r"^[^a-z]*$"), "must contain at least one letter (a-z)"),
    (re.compile(r"--"), "must not contain consecutive hyphens"),
    (re.compile(r"^-|-$"), "must not begin or end with a hyphen"),
)

LABEL_RULE: Final = "a DNS label has at most 63 lower-case letters, digits and inner hyphens"
SUBDOMAIN_RULE: Final = "a DNS subdomain has lower-case letters, digits, inner hyphens and dots"
_CHARACTERS: Final = (
    "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_VALUE_RULE: Final = (
    f"a valid label must be an empty string or {_CHARACTERS} (e.g. 'MyValue',  or 'my_value',  or '12345', "
    f"regex used for validation is '{_VALUE.pattern}')"
)
_NAME_EXAMPLES: Final = (
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED.pattern}')"
)
_PREFIX_RULE: Final = (
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
PORT_NAME_RULE: Final = "a port's name has at most 15 lower-case letters, digits and single inner hyphens"

_LABEL_KINDS: Final = frozenset(["Namespace", "Service", "Lab"])


def is_label(text: str) -> bool:
    """Whether a name is a DNS label (RFC 1123)."""
    return _LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """Whether a name is a DNS subdomain (RFC 1123)."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def is_port_name(text: str) -> bool:
    """Whether a name is an IANA service name (RFC 6335)."""
    return not any(port_name_faults(text))


def port_name_faults(text: str) -> Iterator[str]:
    """What keeps a name from being an IANA service name, in the API server's words (IsValidPortName)."""
    if len(text) > _PORT_NAME_LENGTH:
        yield f"must be no more than {_PORT_NAME_LENGTH} characters"
    yield from (words for wrong, words in _PORT_NAME_FAULTS if wrong.search(text))


def check_metadata(kind: Kind, entry: Entry, findings: Findings) -> None:
    """The name, namespace, labels and annotations of an object of any kind."""
    metadata = entry.body.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    _check_name(kind, metadata, entry, findings)
    namespace = metadata.get("namespace")
    if not kind.namespaced:
        metadata.pop("namespace", None)
    elif isinstance(namespace, str) and not is_label(namespace):
        findings.fault(entry, ("metadata", "namespace"), f'"{namespace}" is no DNS label: {LABEL_RULE}')
    if kind.role == "carried":
        check_labels(metadata.get("labels", {}), entry, ("metadata", "labels"), findings)
        for key in metadata.get("annotations", {}):
            for words in _key_faults(key.lower()):  # ValidateAnnotations looks past the case
                findings.fault(entry, ("metadata", "annotations", key), f'"{key}": {words}', key=True)


def _check_name(kind: Kind, metadata: Body, entry: Entry, findings: Findings) -> None:
    path = ("metadata", "name")
    name = metadata.get("name")
    if name is None:
        remedy = ": generateName makes a new object at every turn" if "generateName" in metadata else ""
        findings.fault(entry, path, f"is required and missing{remedy}")
    elif not isinstance(name, str):
        findings.fault(entry, path, f"{name} must be a string: quote it")
    elif kind.role != "carried":
        if not name or "/" in name or "%" in name or name in (".", ".."):
            findings.fault(entry, path, f'"{name}" is no name: it may not be empty, "." or "..", nor have / or %')
    elif kind.name in _LABEL_KINDS:
        if not is_label(name):
            findings.fault(entry, path, f'"{name}" is no DNS label: {LABEL_RULE}')
    elif not is_subdomain(name):
        findings.fault(entry, path, f'"{name}" is no DNS subdomain: {SUBDOMAIN_RULE}')


def check_labels(labels: Body, entry: Entry, path: Sequence[Step], findings: Findings) -> None:
    """The keys and values of a label map."""
    for key, value in labels.items():
        _check_key(key, entry, (*path, key), findings)
        _check_value(value, entry, (*path, key), findings)


def _check_value(value: str, entry: Entry, path: Sequence[Step], findings: Findings) -> None:
    """A label's value (IsValidLabelValue)."""
    if len(value) > _PART_LENGTH:
        findings.fault(entry, path, f'"{value}": must be no more than {_PART_LENGTH} bytes')
    if not _VALUE.fullmatch(value):
        findings.fault(entry, path, f'"{value}": {_VALUE_RULE}')


def _check_key(key: str, entry: Entry, path: Sequence[Step], findings: Findings) -> None:
    for words in _key_faults(key):
        findings.fault(entry, path, f'"{key}": {words}', key=True)


def _key_faults(key: str) -> Iterator[str]:
    """What keeps a text from being a label's key, in the API server's words (IsQualifiedName)."""
    prefix, slash, name = key.partition("/")
    if "/" in name:
        yield (
            f"a qualified name must {_CHARACTERS} {_NAME_EXAMPLES} with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')"
        )
        return
    if not slash:
        prefix, name = "", key
    elif not prefix:
        yield "prefix part must be non-empty"
    elif not is_subdomain(prefix):
        yield _PREFIX_RULE
    if not name:
        yield "name part must be non-empty"
    elif len(name) > _PART_LENGTH:
        yield f"name part must be no more than {_PART_LENGTH} bytes"
    if not _QUALIFIED.fullmatch(name):
        yield f"name part must {_CHARACTERS} {_NAME_EXAMPLES}"


def check_selector(selector: Body, entry: Entry, path: Sequence[Step], findings: Findings) -> None:
    """A LabelSelector: matchLabels and matchExpressions."""
    check_labels(selector.get("matchLabels", {}), entry, (*path, "matchLabels"), findings)
    for index, expression in enumerate(selector.get("matchExpressions", ())):
        where = (*path, "matchExpressions", index)
        operator, values = expression.get("operator"), expression.get("values", [])
        if "key" in expression:
            _check_key(expression["key"], entry, (*where, "key"), findings)
        if operator in ("In", "NotIn") and not values:
            words = "Required value: must be specified when `operator` is 'In' or 'NotIn'"
            findings.fault(entry, (*where, "values"), words)
        if operator in ("Exists", "DoesNotExist") and values:
            words = "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            findings.fault(entry, (*where, "values"), words)
        for number, value in enumerate(values):
            _check_value(value, entry, (*where, "values", number), findings)


def matches(selector: Body, labels: dict[str, str]) -> bool:
    """Whether a LabelSelector selects an object with these labels; an empty one selects all."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_satisfies(expression, labels) for expression in selector.get("matchExpressions", ()))


def _satisfies(expression: Body, labels: dict[str, str]) -> bool:
    key: Any = expression.get("key")
    values = expression.get("values", ())
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return True


def check_duplicates(entries: Sequence[Entry], findings: Findings) -> None:
    """Two objects of one kind, namespace and name: the second is a fault that says where the first is."""
    first: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        thing = entry.object
        if not thing.name:
            continue
        known = first.setdefault((thing.kind, thing.namespace, thing.name), entry)
        if known is not entry:
            findings.fault(entry, (), f"is given twice; the first is at {known.place.start}")
