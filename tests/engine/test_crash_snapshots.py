"""kill -9 of a save and a restore at random points: the next command brings the cloud back, RAM and disks in step."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from halab.embedded.hypervisor.waiting import wait_for
from halab.snapshot import disks, intent, store
from tests.engine.counting_vms import NODES, ROOT, Counting
from tests.engine.test_crash_engine import SEED, pytestmark

__all__ = ["pytestmark"]
KILLS = int(os.environ.get("HALAB_TEST_SNAPSHOT_KILLS", "2"))


@pytest.fixture(scope="module")
def tiny() -> Iterator[Counting]:
    with tempfile.TemporaryDirectory(prefix="hs") as folder:
        made = Counting(Path(folder))
        try:
            made.build()
            assert wait_for(lambda: min(made.counts().values()) > 20, 60), made.counts()
            yield made
        finally:
            assert made.hypervisor.remove() == []


def run(stack: Counting, at: int, *command: str) -> tuple[int, str]:
    """A command's exit code, and where it died or how many points it passed."""
    note = stack.folder / "note"
    note.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name("crash_halab.py")), str(note), str(at), *command],
        env=stack.environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode <= 0, done.stdout + done.stderr
    return done.returncode, note.read_text() if note.exists() else ""


def check(stack: Counting, died: str) -> None:
    """All VMs count on, from where their disks are, and nothing is left of what was under way."""
    assert intent.read(stack.workspace) is None, died
    assert stack.running() == NODES, died
    before = stack.counts()
    assert wait_for(lambda: all(count > before[node] for node, count in stack.counts().items()), 30), died
    assert stack.hypervisor.fence.listening(), died
    for node in stack.workspace.topology.nodes:
        assert disks.chain(stack.pool, f"{node.domain}.qcow2")[-1] == "base.raw", died
    for place in store.every(stack.state):
        store.check(place, store.read(place))


@pytest.mark.parametrize("what", ["save", "restore"])
def test_a_snapshot_command_that_is_killed_anywhere_loses_no_cloud(tiny: Counting, what: str) -> None:
    began = time.monotonic()
    assert run(tiny, 0, "snapshot", "save", f"whole-{what}", "--as-it-is", "--stack", "tiny")[0] == 0
    _, points = run(tiny, 0, "snapshot", what, *_rest(what, 0))
    chosen = sorted(random.Random(f"{SEED} {what}").sample(range(1, int(points) + 1), KILLS))
    print(f"HALAB_TEST_SEED={SEED} {what}: {chosen} of {points} points")
    for at in chosen:
        code, died = run(tiny, at, "snapshot", what, *_rest(what, at))
        assert code == -9, (at, died)
        assert run(tiny, 0, "settle", "tiny")[0] == 0
        check(tiny, f"{what} {at}: {died}")
    print(f"{what}: {KILLS} kills, {time.monotonic() - began:.1f} s")


def _rest(what: str, number: int) -> tuple[str, ...]:
    name = f"cut-{number}" if what == "save" else "whole-restore"
    return (name, *(["--as-it-is"] if what == "save" else []), "--stack", "tiny")
