"""While a fault runs only what it begins itself changes the stack; everybody else is told who holds it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from halab import hypervisors
from halab.actions import fault
from halab.cli.app import run
from halab.embedded.engine.errors import LockedError
from halab.embedded.engine.lock import Lock
from halab.stacks import admission
from halab.stacks.claims import EMBEDDED
from halab.workspace import Workspace
from tests.pure.conftest import PROJECT

COMMAND = ["fault", "run", "vip-owner-off", "--no-restore", "--stack", "mine"]


@pytest.fixture
def mine(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A stack that counts as up, on a host without any libvirt."""
    (tmp_path / "stacks").mkdir()
    shutil.copy(PROJECT / "stacks" / "Pulumi.collapsed.yaml", tmp_path / "stacks" / "Pulumi.mine.yaml")
    shutil.copy(PROJECT / "Pulumi.yaml", tmp_path)
    monkeypatch.setenv("HALAB_PROJECT", str(tmp_path))
    monkeypatch.setenv("HALAB_STATE", str(state))
    monkeypatch.setattr(hypervisors, "SOCKETS", ())
    monkeypatch.setattr(hypervisors, "reach", lambda workspace: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["halab", *COMMAND])
    workspace = Workspace.load(tmp_path, "mine")
    workspace.note(hypervisor=EMBEDDED, engine="embedded", since="2026-11-21T10:00:00Z", built="2026-11-21T10:00:00Z")
    return workspace


def test_while_a_fault_runs_all_that_would_change_the_stack_is_refused_in_one_line(
    mine: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held = re.compile(
        rf"halab: the stack is locked by pid {os.getpid()} \({' '.join(COMMAND)}\) on \S+ since "
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\S+\.mine\.fault\.lock\); wait for it or end it\n"
    )
    others = (
        ["down"],
        ["snapshot", "save", "x"],
        ["recover"],
        ["fault", "run", "api-kill"],
        ["fault", "watch", "true"],
    )

    def meanwhile(*_: object) -> int:
        for command in others:
            assert run([*command, "--stack", "mine"]) == 2, command
            assert held.fullmatch(capsys.readouterr().err), command
        with (
            pytest.raises(LockedError, match=f"pid {os.getpid()}"),
            admission.admitted(mine, EMBEDDED, "embedded", emulated=True, overcommit=True),
        ):
            pass
        capsys.readouterr()
        assert run(["list", "--json"]) == 0
        (row,) = [one for one in json.loads(capsys.readouterr().out)["stacks"] if one["name"] == "mine"]
        assert row["condition"] == "busy"
        return 0

    monkeypatch.setattr(fault, "_carry_out", meanwhile)
    assert run(COMMAND) == 0
    assert mine.record() is not None
    assert run(["down", "--stack", "mine"]) == 0
    assert list((mine.state / "stacks").iterdir()) == []


def test_a_fault_does_not_stand_in_the_way_of_what_it_begins_itself(
    mine: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[subprocess.CompletedProcess[str]] = []

    def begins_a_down(*_: object) -> int:
        halab = f"exec {sys.executable} -P -m halab down --stack mine"
        environment = {**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'src'}"}
        # through a shell, as ./halab is one
        command = ["/bin/sh", "-c", f"({halab}); exit $?"]
        done.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=False))
        return 0

    monkeypatch.setattr(fault, "_carry_out", begins_a_down)
    assert run(COMMAND) == 0
    assert done[0].returncode == 0, done[0].stderr
    assert mine.record() is None


def test_no_fault_begins_while_another_command_changes_the_stack(
    mine: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(fault, "_carry_out", lambda *_: begun.append("fault"))
    monkeypatch.setattr(fault, "_restore", lambda *_: begun.append("restore"))
    with admission.alone(mine):
        assert run(["fault", "run", "vip-owner-off", "--stack", "mine"]) == 2
        assert f"locked by pid {os.getpid()}" in capsys.readouterr().err
    assert begun == []


def test_a_fault_that_was_killed_holds_nobody_up_and_leaves_no_lock(mine: Workspace) -> None:
    lock = Lock(mine.fault_lock, lambda line: None)
    lock.acquire()
    kept = mine.fault_lock.read_text()
    lock.release()
    dead = subprocess.Popen(["true"])
    dead.wait()
    mine.fault_lock.write_text(kept.replace(str(os.getpid()), str(dead.pid), 1))
    assert run(["down", "--stack", "mine"]) == 0
    assert list((mine.state / "stacks").iterdir()) == []
