"""Exit codes, messages, and what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nslab import __version__, errors
from nslab.cli import privilege
from nslab.cli.main import SECTIONS, main, show_error


def nslab(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    return subprocess.run([sys.executable, "-m", "nslab", *args], capture_output=True, text=True,
                          env={**os.environ, **environment})


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"nslab {__version__}\n"
    assert main(["version", "-o", "json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"nslab", "python", "kernel"}


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{heading}:\n" in text for heading in SECTIONS)
    assert "..." not in text.partition("Labs:")[2]
    for commands in SECTIONS.values():
        for name in commands:
            assert f"\n  {name} " in text


@pytest.mark.parametrize("name", [name for commands in SECTIONS.values() for name in commands])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "-h"]) == 0
    assert f"Usage: nslab {name}" in capsys.readouterr().out


@pytest.mark.parametrize("args", [
    ["nonsense"], ["get"], ["get", "nonsense"], ["version", "extra"], ["up", "--wait", "soon"], ["down", "../../etc"],
    ["--lab", "A_b", "status"], ["down", "shop", "--all"], ["logs", "pod/x", "--tail", "-1"],
])
def test_usage_errors_are_2_and_on_stderr(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err


def test_a_mistyped_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stauts"]) == 2
    assert "No such command 'stauts'. Did you mean status?" in capsys.readouterr().err


def test_no_lab_is_6(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["status"], ["get", "pods"], ["--lab", "gone", "describe", "pod/x"]):
        assert main(args) == 6
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: no lab is up\nhint: " in shown.err


def test_ls_without_labs_says_so_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "No lab is up" in shown.err
    assert main(["ls", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_faults_come_first_and_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(errors.ManifestError(["a.yaml:1:2: Pod x: wrong", "a.yaml:3:4: Pod y: worse"], hint="mend them"))
    assert capsys.readouterr().err == (
        "a.yaml:1:2: Pod x: wrong\na.yaml:3:4: Pod y: worse\nerror: 2 faults found\nhint: mend them\n"
    )


def test_a_kernel_error_says_operation_errno_and_netns(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(errors.KernelError("ip link add x", 17, "shop.vpc"))
    assert capsys.readouterr().err == (
        "error: netns shop.vpc: the kernel refused `ip link add x`: File exists (EEXIST)\n"
    )


def test_without_a_topology_an_example_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["up"]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "there is no topology.yaml here" in shown.err
    assert "kind: Service" in shown.err


@pytest.mark.parametrize("args", [["up", "-"], ["down", "shop"], ["gc"]])
def test_without_capabilities_the_remedy_is_said(
    args: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(privilege, "effective_capabilities", lambda: 0)
    assert main(args) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "CAP_NET_ADMIN and CAP_SYS_ADMIN missing" in shown.err
    assert "sudo" in shown.err


def test_capabilities_count_and_not_the_uid() -> None:
    assert privilege.missing_capabilities(1 << 12) == ["CAP_SYS_ADMIN"]
    assert privilege.missing_capabilities(1 << 12 | 1 << 21) == []
    assert privilege.has_privilege()  # root of the private user namespace


def test_a_closed_pipe_is_quiet() -> None:
    shown = subprocess.run(
        ["bash", "-c", "set -o pipefail; \"$0\" -m nslab schema | true; echo ${PIPESTATUS[0]}", sys.executable],
        capture_output=True, text=True,
    )
    assert shown.stderr == ""
    assert shown.stdout in ("141\n", "0\n")  # 0: all was written before the reader left


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    from nslab.agent import client

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "labs", interrupted)
    assert main(["ls"]) == 130


@pytest.mark.parametrize(("raised", "status", "said"), [
    (PermissionError(13, "Permission denied", "/run/nslab"), 4, "error: /run/nslab: permission denied\nhint: "),
    (OSError(28, "No space left on device", "/run/nslab/x"), 5, "error: /run/nslab/x: No space left on device\n"),
])
def test_errors_of_the_system_are_messages(
    raised: OSError, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nslab.agent import client

    def refused() -> None:
        raise raised

    monkeypatch.setattr(client, "labs", refused)
    assert main(["ls"]) == status
    assert capsys.readouterr().err.startswith(said)


def test_version_imports_nothing_heavy() -> None:
    code = (
        "import sys; from nslab.cli.main import main; main(['version']);"
        "print(*sorted(set(sys.modules) & set(sys.argv[1:])), file=sys.stderr)"
    )
    heavy = ["yaml", "rich", "pyroute2", "psutil", "jsonschema_rs", "asyncio", "ipaddress", "json", "dataclasses",
             "subprocess", "nslab.agent.client", "nslab.cluster.model"]
    shown = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True)
    assert shown.stderr == "\n"


def test_completion_scripts_and_commands() -> None:
    assert "_nslab_completion" in nslab("completion", "bash").stdout
    assert "#compdef nslab" in nslab("completion", "zsh").stdout
    assert "complete --no-files --command nslab" in nslab("completion", "fish").stdout
    offered = nslab(_NSLAB_COMPLETE="bash_complete", COMP_WORDS="nslab de", COMP_CWORD="1")
    assert offered.stdout.split() == ["plain,describe", "plain,delete"]


def test_completion_without_a_lab_offers_nothing_and_stays_quiet() -> None:
    offered = nslab(_NSLAB_COMPLETE="bash_complete", COMP_WORDS="nslab describe pod/", COMP_CWORD="2")
    assert (offered.stdout.strip(), offered.stderr) == ("", "")
    kinds = nslab(_NSLAB_COMPLETE="bash_complete", COMP_WORDS="nslab get endpointsl", COMP_CWORD="2")
    assert kinds.stdout == "plain,endpointslices\n"
