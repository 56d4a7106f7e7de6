"""kill -9 of a save at random points: the next command brings the cloud back, RAM and disks in step."""

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


@pytest.fixture
def tiny() -> Iterator[Counting]:
    with tempfile.TemporaryDirectory(prefix="hs") as folder:
        made = Counting(Path(folder))
        try:
            made.build()
            assert wait_for(lambda: min(made.counts().values()) > 20, 60), made.counts()
            yield made
        finally:
            assert made.hypervisor.remove() == []


def run(stack: Counting, *command: str, at: int = 0) -> tuple[int, str, str]:
    """A command's exit code, what it said, and where it died, or how many points it passed."""
    note = stack.folder / "note"
    note.unlink(missing_ok=True)
    script = str(Path(__file__).with_name("crash_halab.py"))
    done = subprocess.run(
        [sys.executable, "-P", script, str(note), str(at), *command],
        env=stack.environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    return done.returncode, done.stdout + done.stderr, note.read_text() if note.exists() else ""


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


def test_a_save_that_is_killed_anywhere_loses_no_cloud(tiny: Counting) -> None:
    began = time.monotonic()
    rest = ("--as-it-is", "--stack", "tiny")
    code, said, points = run(tiny, "snapshot", "save", "whole", *rest)
    assert code == 0, said
    chosen = sorted(random.Random(f"{SEED} save").sample(range(1, int(points) + 1), KILLS))
    print(f"HALAB_TEST_SEED={SEED} save: {chosen} of {points} points")
    for at in chosen:
        code, said, died = run(tiny, "snapshot", "save", f"cut-{at}", *rest, at=at)
        assert code == -9, (at, died, said)
        code, said, _ = run(tiny, "settle", "tiny")
        assert code == 0, (died, said)
        check(tiny, f"save {at}: {died}")
    print(f"{KILLS} kills: {time.monotonic() - began:.1f} s")
