#!/usr/bin/env bash
# What nslab needs of a Debian 12 machine. Shared by `make setup` and the Vagrantfile; safe to run again.
set -euo pipefail

packages=(iproute2 nftables python3 python3-venv make curl iputils-ping procps util-linux)

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
    if [[ $EUID -ne 0 ]]; then
        echo "provision: missing packages: ${missing[*]}; run: sudo apt-get install ${missing[*]}" >&2
        exit 4
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
