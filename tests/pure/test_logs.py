"""Consoles and bundles of logs: what a user gets when nodes do not answer."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from components.topology import derive
from components.variant import load
from halab import hypervisors
from halab.actions import cloud, logs
from halab.actions.console import log_file, plain
from halab.cli.app import run
from halab.keys import Keys
from halab.remote import Outcome, RemoteError
from halab.workspace import Workspace

ROOT = Path(__file__).parents[2]


class Nodes:
    """In place of SSH: controller-2 does not answer, the others say their journal and a secret."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    async def __aenter__(self) -> Nodes:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def execute(self, node: str, script: str, *, limit: float) -> Outcome:
        await asyncio.sleep(0)
        assert "journalctl" in script
        if node == "controller-2":
            raise RemoteError(node, f"no answer within {limit:.0f} s")
        return Outcome(0, f"journal of {node}, password {self.secret}\n", "")


@pytest.fixture
def workspace(state: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A stack that is up on the embedded hypervisor, as far as files go."""
    monkeypatch.setenv("HALAB_STATE", str(state))
    found = Workspace(ROOT, derive(load(ROOT, "collapsed")), state)
    found.note(hypervisor="embedded", engine="embedded")
    own = Keys.create("collapsed")
    folder = found.paths.log / "qemu"
    folder.mkdir(parents=True)
    for node in found.topology.nodes:
        (folder / f"{node.domain}-console.log").write_text(f"\x1b[1mlast words of {node.name}\x1b[0m\r\n")
    monkeypatch.setattr(hypervisors, "reach", lambda _: None)
    monkeypatch.setattr(cloud, "remote", lambda _: Nodes(own.secrets.value("KEYSTONE_DB")))
    return found


def test_a_node_that_does_not_answer_is_in_the_bundle_with_its_console_log(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.tar.gz"
    workspace.new_log("up").write_text("what up did\n")
    (workspace.state / "log" / "install.log").write_text("what was installed\n")
    assert run(["logs", "--bundle", str(path)]) == 0
    said = capsys.readouterr().out
    assert "controller-2: no answer within 120 s; the bundle has its console log instead" in said
    assert "5 of 6 nodes answered" in said
    with tarfile.open(path) as tar:
        found = {name.partition("/")[2]: tar.extractfile(name) for name in tar.getnames()}
        texts = {name: file.read().decode() for name, file in found.items() if file}
    assert "no answer" in texts["nodes/controller-2.log"]
    assert "last words of controller-2" in texts["nodes/controller-2.console.log"]
    assert "journal of controller-1, password [secret]" in texts["nodes/controller-1.log"]
    assert {"what up did\n", "what was installed\n"} <= set(texts.values())
    assert not any(name.startswith("hypervisor/qemu") for name in texts), "a console's log is there once"


def test_a_bundle_is_for_its_owner_alone_and_whole_or_not_there(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.tar.gz"
    assert run(["logs", "--bundle", str(path)]) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()

    def broken(*_: object) -> bytes:
        raise OSError("disk full")

    monkeypatch.setattr(logs, "_end", broken)
    with pytest.raises(OSError, match="disk full"):
        run(["logs", "--bundle", str(path)])
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_cannot_be_written_is_one_line(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["logs", "--bundle", str(tmp_path / "no" / "b.tar.gz")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--bundle" in said


def test_the_console_s_log_is_shown_without_what_moves_a_terminal_s_cursor(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["console", "controller-3", "--log"]) == 0
    assert capsys.readouterr().out == "last words of controller-3\n"
    assert plain("\x1b[2J\x1b[01;31ma\x07\tb\x1b(B\x1b]104\x07\n") == "a\tb\n"


def test_without_a_terminal_the_console_names_its_log(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["console", "controller-3"]) == 2
    assert "./halab console controller-3 --log" in capsys.readouterr().err


def test_a_console_on_another_host_says_where_its_log_is(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.note(hypervisor="qemu+ssh://root@lab/system")
    assert log_file(workspace, workspace.topology.nodes[0]) is None
    assert run(["console", "controller-3", "--log"]) == 2
    assert "on the hypervisor's host" in capsys.readouterr().err


_ATTACH = """
import sys
from halab import hypervisors
from halab.cli.app import run
hypervisors.reach = lambda _: None
sys.exit(run(["console", "controller-1", "--force"]))
"""


@pytest.mark.parametrize(("vm", "code"), [("running", 0), ("shut off", 2)])
def test_on_a_terminal_the_console_becomes_virsh_on_the_stack_s_libvirt_if_the_vm_runs(
    vm: str, code: int, workspace: Workspace, tmp_path: Path
) -> None:
    workspace.note(hypervisor="qemu:///system")
    virsh = tmp_path / "virsh"
    virsh.write_text(
        f'#!/bin/sh\ncase "$*" in *list*) echo " 1 halab-collapsed-controller-1 {vm}";; *) echo "$*";; esac\n'
    )
    virsh.chmod(0o755)
    master, terminal = pty.openpty()
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", _ATTACH],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        check=False,
    )
    os.close(terminal)
    said = os.read(master, 4096).decode() if code == 0 else ""
    os.close(master)
    assert done.returncode == code
    if code == 0:
        assert "Ctrl-] leaves" in done.stderr
        assert said.strip() == "--quiet -c qemu:///system console halab-collapsed-controller-1 --force"
    else:
        assert "its VM is shut off" in done.stderr
