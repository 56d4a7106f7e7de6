"""kill -9 of halab and of libvirtd in a save and in a restore: the next command brings the cloud back.

RAM and disks are in step, and no VM has been booted in the place of one that was to be resumed.
"""

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
#: Of each process in each command; more of them than a test run has time for find what a change broke.
KILLS = int(os.environ.get("HALAB_TEST_SNAPSHOT_KILLS", "1"))


@pytest.fixture
def tiny() -> Iterator[Counting]:
    with tempfile.TemporaryDirectory(prefix="hs") as folder:
        made = Counting(Path(folder))
        try:
            made.build()
            assert wait_for(lambda: min(made.counts().values()) > 20, 120), made.counts()
            yield made
        finally:
            assert made.hypervisor.remove() == []


def run(stack: Counting, *command: str, who: str = "halab", at: int = 0) -> tuple[int, str, str]:
    """A command's exit code, what it said, and where it or libvirtd died, or how many points it passed."""
    note = stack.folder / "note"
    note.unlink(missing_ok=True)
    script = str(Path(__file__).with_name("crash_halab.py"))
    done = subprocess.run(
        [sys.executable, "-P", script, str(note), who, str(at), *command],
        env=stack.environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr, note.read_text() if note.exists() else ""


def check(stack: Counting, died: str) -> None:
    """All VMs count on, each from its RAM and on the disk that is in the pool, and nothing is left under way."""
    assert intent.read(stack.workspace) is None, died
    assert stack.running() == NODES, died
    before = stack.counts()
    assert wait_for(lambda: all(count > before[node] for node, count in stack.counts().items()), 120), died
    assert stack.hypervisor.fence.listening(), died
    processes = {one.role: one.pid for one in stack.hypervisor.processes()}
    for node in stack.workspace.topology.nodes:
        disk = f"{node.domain}.qcow2"
        assert disks.chain(stack.pool, disk)[-1] == "base.raw", died
        opened = {one.stat().st_ino for one in Path(f"/proc/{processes[f'qemu:{node.domain}']}/fd").iterdir()}
        assert (stack.pool / disk).stat().st_ino in opened, f"{died}: {node.name} has another disk than its pool"
    for place in store.every(stack.state):
        store.check(place, store.read(place))


@pytest.mark.parametrize("what", ["save", "restore"])
def test_a_snapshot_command_in_which_anything_is_killed_loses_no_cloud(tiny: Counting, what: str) -> None:
    began = time.monotonic()
    save = ("snapshot", "save", "whole", "--as-it-is", "--stack", "tiny")
    code, said, points = run(tiny, *save)
    assert code == 0, said
    if what == "restore":
        code, said, points = run(tiny, "snapshot", "restore", "whole", "--stack", "tiny")
        assert code == 0, said
    for who in ("halab", "libvirtd"):
        chosen = sorted(random.Random(f"{SEED} {what} {who}").sample(range(1, int(points) + 1), KILLS))
        print(f"HALAB_TEST_SEED={SEED} {what}, {who}: {chosen} of {points} points")
        for at in chosen:
            command: tuple[str, ...] = (*save[:2], f"{who}-{at}", *save[3:])
            if what == "restore":
                command = ("snapshot", "restore", "whole", "--stack", "tiny")
            least = dict.fromkeys(NODES, 0) if what == "restore" else tiny.counts()
            code, said, died = run(tiny, *command, who=who, at=at)
            reached = not (died.isdigit() and int(died) < at)
            assert code in ([-9] if who == "halab" and reached else [0, 1]), (at, died, said)
            assert "Traceback" not in said, said
            assert "booted" not in said, (died, said)
            code, said, _ = run(tiny, "settle", "tiny")
            assert code == 0, (died, said)
            assert "booted" not in said, (died, said)
            tiny.hypervisor.start()
            check(tiny, f"{what} {at}: {died}")
            assert all(count >= least[node] for node, count in tiny.counts().items()), (died, least)
    print(f"{what}: {time.monotonic() - began:.1f} s")
