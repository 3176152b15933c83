"""Files to a Manifest, in one pass that finds every fault.

    paths --sources--> texts --yaml_reader--> values --shape--> entries --defaults, semantics--> Manifest

Each stage goes on after a fault with whatever is still sound: a broken document leaves its neighbours, a refused
field is cut out and the rest of its object is judged. The ManifestError at the end carries the faults of all stages.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os.path import exists, isdir
from pathlib import Path
from typing import Any, TextIO

from nslab.api import semantics
from nslab.api.defaults import retired_selector, set_defaults
from nslab.api.findings import Entry, Findings
from nslab.api.kinds import GROUPS, KINDS, Kind, by_name, find, group_of
from nslab.api.lab import lab_name, lab_spec
from nslab.api.objects import Manifest, Object
from nslab.api.schema import kind_schema
from nslab.api.shape import misfits, nearest, without
from nslab.api.sources import Source, sources
from nslab.api.yaml_reader import Place, read
from nslab.errors import ManifestError

Progress = Callable[[int, int], None]


def decode(
    paths: Sequence[str],
    *,
    ignore_unknown: bool = False,
    stdin: TextIO | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Read, validate and default everything that `paths` (files, folders, `-` for `stdin`) hold.

    With `ignore_unknown` an object of an unknown kind is left out with a warning. `progress` is called now and then
    with the characters read and those known to be there. Raises ManifestError with every fault of all files.
    """
    reading = _Reading(ignore_unknown, progress)
    collecting = gc.isenabled()
    gc.disable()  # nothing that is made here is garbage, and looking for some would take half of the time
    try:
        reading.read_all(sources(paths, stdin, reading.findings))
        return reading.manifest(_default_name(paths))
    finally:
        if collecting:
            gc.enable()


def _default_name(paths: Sequence[str]) -> str:
    """The name of a lab that has no Lab object: its first file's stem, its folder's name, or "lab" for `-`."""
    if not paths or paths[0] == "-":
        return "lab"
    path = Path(paths[0]).resolve()
    return lab_name(path.name if isdir(path) else path.stem)


@dataclass
class _Reading:
    """One pass over all files: what was read so far."""

    ignore_unknown: bool
    progress: Progress | None
    findings: Findings = field(default_factory=Findings)
    entries: list[Entry] = field(default_factory=list)
    labs: list[Entry] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    seen: set[Path] = field(default_factory=set)
    done: int = 0
    known: int = 0

    def read_all(self, texts: Iterator[Source]) -> None:
        for source in texts:
            labs_before = len(self.labs)
            self.read_source(source)
            for lab in self.labs[labs_before:]:
                self.read_manifests(lab, source)

    def read_manifests(self, lab: Entry, source: Source) -> None:
        """The files that a Lab names, relative to its own."""
        for index, name in enumerate(lab.spec.get("manifests", ())):
            if not isinstance(name, str):
                continue
            path = source.folder / name
            if not exists(path):
                self.findings.fault(lab, ("spec", "manifests", index), f'there is no file or folder "{path}"')
                continue
            for text in sources([str(path)], None, self.findings):
                self.read_source(text)

    def read_source(self, source: Source) -> None:
        """One text; a file that several paths lead to is read once."""
        path = Path(source.file).resolve()
        if source.file != "-" and path in self.seen:
            return
        self.seen.add(path)
        self.known += len(source.text)
        for number, document in enumerate(read(source.file, source.text)):
            for where, message in document.faults:
                self.findings.fault_at(where, f"YAML: {message}")
            if document.value is not None:
                self.read_value(document.value, document.place)
            self.done += len(document.place.text.text)
            if self.progress and number % 200 == 0:
                self.progress(self.done, self.known)
        self.done = self.known
        if self.progress:
            self.progress(self.done, self.known)

    def read_value(self, value: Any, place: Place) -> None:
        """One document's value, or one item of a List."""
        if not isinstance(value, dict):
            self.findings.fault_at(place.start, "document: is no mapping with apiVersion and kind")
            return
        api_version, name = value.get("apiVersion"), value.get("kind")
        missing = [key for key in ("apiVersion", "kind") if key not in value]
        if missing:
            self.findings.fault_at(place.start, f"document: has no {' and no '.join(missing)}, so is no object")
            return
        if not isinstance(api_version, str) or not isinstance(name, str):
            self.findings.fault_at(place.start, "document: apiVersion and kind must be strings")
            return
        items = value.get("items", [] if name == "List" else None)
        if name.endswith("List") and isinstance(items, list):
            for index, item in enumerate(items):
                self.read_value(item, place.inside(("items", index)))
            return
        kind = find(api_version, name)
        if kind is None:
            self.unknown(api_version, name, _entry(value, "", place))
        elif kind.role == "carried":
            self.read_carried(kind, value, place)
        else:
            self.read_other(kind, _entry(value, "default" if kind.namespaced else "", place))

    def unknown(self, api_version: str, name: str, entry: Entry) -> None:
        known = group_of(api_version) in GROUPS
        others = by_name(name) if known else ()
        remedy = "--ignore-unknown lets it pass"
        if others:
            remedy = f'{name} is of apiVersion "{others[0].api_version}"'
        elif api_version.startswith("kustomize.config.k8s.io/"):
            remedy = "render it first: kubectl kustomize DIR | nslab up -"
        elif known:
            near = nearest(name, [kind.name for kind in KINDS if kind.role == "carried"])
            remedy = "; ".join(filter(None, [near, remedy]))
        if self.ignore_unknown and not others:
            self.findings.warn(entry, ("kind",), f'unknown kind "{name}" ({api_version}), ignored')
        else:
            self.findings.fault(entry, ("kind",), f'unknown kind "{name}" of apiVersion "{api_version}": {remedy}')

    def read_other(self, kind: Kind, entry: Entry) -> None:
        semantics.check_metadata(kind, entry, self.findings)
        self.ignored.append(entry.object.reference)
        if kind.role == "later":
            self.findings.warn(entry, ("kind",), "not supported yet, ignored")
        elif kind.name == "CronJob":
            self.findings.warn(entry, ("kind",), "nothing runs at set times in a lab; a Job does at once, ignored")

    def read_carried(self, kind: Kind, body: dict[str, Any], place: Place) -> None:
        api_version = body["apiVersion"]
        if api_version not in kind.versions:
            self.findings.fault(
                _entry(body, "", place), ("apiVersion",),
                f'"{api_version}" is no longer served for {kind.name}: use "{kind.api_version}", '
                f"whose fields differ (`kubectl convert` or the deprecation guide has the changes)",
            )  # fmt: skip
            return
        if "extensions/" in api_version or (kind.name, api_version) == ("Deployment", "apps/v1beta1"):
            retired_selector(body)
        schema = kind_schema(kind)
        wrong = misfits(schema, body, place) if schema else []
        broken = tuple(without(body, misfit.path) for misfit in wrong if misfit.fatal)
        meant = tuple((*misfit.path[:-1], misfit.meant) for misfit in wrong if misfit.meant)
        metadata = body.setdefault("metadata", {})
        entry = _entry(body, metadata.get("namespace", "default") if kind.namespaced else "", place)
        for misfit in wrong:
            if misfit.path not in meant:
                self.findings.fault(entry, misfit.path, misfit.message, key=misfit.key)
        entry.broken = broken + meant
        if _is_retired(api_version, kind):
            self.findings.warn(entry, ("apiVersion",), f'"{api_version}" is read as "{kind.api_version}"')
        set_defaults(kind, body)
        semantics.check_metadata(kind, entry, self.findings)
        (self.labs if kind.name == "Lab" else self.entries).append(entry)

    def manifest(self, default_name: str) -> Manifest:
        """The Manifest of all that was read; raises ManifestError if anything was wrong."""
        for second in self.labs[1:]:
            first = self.labs[0].place.start
            self.findings.fault(second, (), f"a second Lab; the first is at {first}, and a lab has at most one")
        semantics.check_duplicates([*self.labs[:1], *self.entries], self.findings)
        nodes = [entry for entry in self.entries if entry.object.kind == "Node"]
        lab_entry = self.labs[0] if self.labs else None
        lab = lab_spec(lab_entry, nodes, default_name, self.findings)
        semantics.check(lab_entry, lab, self.entries, self.findings)
        if self.findings.faults:
            raise ManifestError(self.findings.faults)
        return Manifest(
            lab=lab,
            objects=tuple(entry.object for entry in self.entries),
            ignored=tuple(self.ignored),
            warnings=tuple(self.findings.warnings),
        )


def _is_retired(api_version: str, kind: Kind) -> bool:
    """Whether a real cluster of today would refuse the apiVersion that we still read."""
    return api_version in kind.versions[1:] and bool(kind.definition)


def _entry(body: dict[str, Any], namespace: str, place: Place) -> Entry:
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("name", "")
    found = metadata.get("namespace", namespace) if namespace else ""
    reference = Object(
        api_version=body["apiVersion"],
        kind=body["kind"],
        namespace=found if isinstance(found, str) else namespace,
        name=name if isinstance(name, str) else "",
        body=body,
        where=place.start,
    )
    return Entry(reference, place)
