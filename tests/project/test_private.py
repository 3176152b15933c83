"""`tests/private`: what runs in it leaves no trace, and a host that forbids it is told the remedy."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRIVATE = str(ROOT / "tests/private")


def _bash(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script, "bash", PRIVATE], capture_output=True, text=True, check=False)


def test_namespaces_files_and_processes_stay_inside() -> None:
    before = _bash("ip netns list; ls /etc /run; pgrep -c sleep").stdout
    made = _bash('"$1" bash -c "ip netns add strange; touch /etc/strange; sleep 600 & ip netns list"')
    assert made.stdout == "strange\n"
    assert _bash("ip netns list; ls /etc /run; pgrep -c sleep").stdout == before


def test_exit_code_and_arguments_pass_through() -> None:
    assert _bash('"$1" bash -c "exit 7"').returncode == 7
    assert _bash('"$1" printf "%s." "a b" c').stdout == "a b.c."


def test_an_ordinary_path_finds_the_tools_of_root() -> None:
    assert _bash('PATH=/usr/bin:/bin "$1" bash -c "command -v nft sysctl"').returncode == 0


def test_a_host_without_user_namespaces_is_told_the_setting() -> None:
    """max_user_namespaces belongs to a user namespace: here it is forbidden in one of our own."""
    refused = _bash('"$1" bash -c "echo 0 > /proc/sys/user/max_user_namespaces; exec \\"\\$0\\" true" "$1"')
    assert refused.returncode == 4
    assert "this host refuses user namespaces" in refused.stderr
    assert "remedy: sudo sysctl -w user.max_user_namespaces=10000" in refused.stderr


def test_a_chroot_is_told_so(tmp_path: Path) -> None:
    """The kernel makes no user namespaces for a process in a chroot."""
    in_chroot = f'mount --rbind / {tmp_path} && exec chroot {tmp_path} "$1" true'
    refused = _bash(f"unshare --mount bash -c '{in_chroot}' bash \"$1\"")
    assert refused.returncode == 4
    assert "a container or a chroot may make none" in refused.stderr
