"""What a halab that was killed left running on a node: the same step, run again, ends it first; nobody else does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from halab.embedded.provider import Call, Props
from halab.embedded.providers.command import CommandProvider, session
from tests.engine.ssh_server import CLIENT, HOST, PEM, SSHD, Sshd, until
from tests.engine.test_command_provider import REMOTE, running

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(SSHD is None or os.geteuid() != 0, reason="no sshd, or not root"),
]
CHILD = """
import json, sys
from pathlib import Path
from tests.engine.test_crash_remote import as_on_a_node, ran
as_on_a_node(Path(sys.argv[1]))
ran(json.loads(sys.argv[2]), sys.argv[3], sys.argv[4])
"""


def as_on_a_node(folder: Path) -> None:
    (folder / "etc").mkdir(exist_ok=True)
    session.ALONE = session.ALONE.replace("/etc/halab", str(folder / "etc"))
    session.NOTES = str(folder / "session.")


def ran(connection: Props, name: str, command: str) -> str:
    call = Call(f"urn:pulumi:s::p::{REMOTE}::{name}", 100, lambda _severity, _line: None, threading.Event())
    provider = CommandProvider()
    try:
        made = provider.create(REMOTE, call, {"connection": connection, "create": command}, preview=False)
        return str(made.outputs["stdout"])
    finally:
        provider.close()


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Props]:
    monkeypatch.setattr(session, "ALONE", session.ALONE)
    monkeypatch.setattr(session, "NOTES", session.NOTES)
    as_on_a_node(tmp_path)
    (tmp_path / "sshd").mkdir()
    server = Sshd(tmp_path / "sshd", HOST, CLIENT)
    try:
        key = HOST.export_public_key().decode().strip()
        yield {"host": "127.0.0.1", "port": server.port, "privateKey": PEM, "hostKey": key}
    finally:
        server.stop()


def killed_while_it_runs(connection: Props, folder: Path, name: str) -> int:
    """The pid of what a step's script waits for, when its halab is dead."""
    note = folder / f"{name}.pid"
    script = f"timeout -k 10 300 bash -c 'sleep 300 & echo $! >{note}; wait'; echo over"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), json.dumps(connection), name, script],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
    )
    until(lambda: note.exists() and note.read_text().strip().isdigit(), "the step's script", 100)
    child.kill()
    child.wait()
    return int(note.read_text())


def test_what_a_killed_halab_left_running_is_ended_by_the_same_step_only(connection: Props, tmp_path: Path) -> None:
    mine, other = (killed_while_it_runs(connection, tmp_path, name) for name in ("mine", "other"))
    assert running(mine)
    assert ran(connection, "mine", f"test -d /proc/{mine} && echo beside || echo alone; echo $#") == "alone\n0"
    assert not running(mine)
    assert running(other)
    assert ran(connection, "other", "echo alone") == "alone"
    assert not running(other)


def test_a_step_that_ended_leaves_what_it_started_alone(connection: Props) -> None:
    daemon = int(ran(connection, "step", "setsid sleep 600 >/dev/null 2>&1 & echo $!"))
    assert ran(
        connection,
        "step",
        "echo again; cat",
    ).startswith("again")
    assert running(daemon)
    os.kill(daemon, 9)
