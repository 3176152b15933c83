#!/usr/bin/env bash
# `make demo`: the quickstart lab, from nothing to nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

root=()
[[ $EUID -eq 0 ]] || root=(sudo)
nslab=("${root[@]}" .venv/bin/nslab)

show() {
    printf '\n\033[1m$ nslab %s\033[0m\n' "$*"
    "${nslab[@]}" "$@"
}

trap '"${nslab[@]}" down quickstart' EXIT
show up topologies/quickstart.yaml
show get pods,services -n shop -o wide
show exec client/laptop -- curl -sS http://203.0.113.10/
show check --lab quickstart
show down quickstart
printf '\nNothing is left: %s network namespaces begin with "quickstart".\n' \
    "$("${root[@]}" ip netns list | grep -c '^quickstart' || true)"
