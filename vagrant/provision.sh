#!/usr/bin/env bash
# What nslab needs of a Debian 12 machine. Shared by `make setup` and the Vagrantfile; safe to run again.
# Asks for root (by sudo) only where something is missing.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin # an ordinary user of Debian has neither

packages=(iproute2 nftables python3 python3-venv make curl iputils-ping procps kmod util-linux ca-certificates)

# The tests drive a running lab with a stock kubectl; whichever is there will do.
command -v kubectl >/dev/null || packages+=(kubernetes-client)

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "provision: this takes root, and there is no sudo; as root, run: $*" >&2
        exit 4
    fi
}

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
    echo "provision: installing ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# Two Pods of one node talk over a bridge. Only with br_netfilter do bridged packets meet the node's NAT, without which
# the answer of a Service's endpoint on the same node reaches its client with the wrong address. Debian's kernel has it
# as a module that nothing loads by itself (veth, bridge and nf_tables come when they are asked for), and that an
# unprivileged namespace cannot load.
if [[ ! -d /proc/sys/net/bridge ]]; then
    as_root modprobe br_netfilter
    as_root mkdir -p /etc/modules-load.d
    echo br_netfilter | as_root tee /etc/modules-load.d/nslab.conf >/dev/null
fi
