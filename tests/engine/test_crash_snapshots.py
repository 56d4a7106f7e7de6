"""kill -9 of a save, a restore, and of libvirtd meanwhile: the next command brings the cloud back.

RAM and disks are in step, of VMs too that were killed while libvirtd saved them and boot from their disks.
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


@pytest.mark.parametrize("who", ["halab", "libvirtd"])
@pytest.mark.parametrize("what", ["save", "restore"])
def test_a_snapshot_command_that_is_killed_anywhere_loses_no_cloud(tiny: Counting, what: str, who: str) -> None:
    began = time.monotonic()
    rest = ("--as-it-is", "--stack", "tiny") if what == "save" else ("--stack", "tiny")
    name = f"{what}-{who}"
    code, said, points = run(tiny, "snapshot", "save", name, "--as-it-is", "--stack", "tiny")
    assert code == 0, said
    if what == "restore":
        code, said, points = run(tiny, "snapshot", what, name, *rest)
        assert code == 0, said
    chosen = sorted(random.Random(f"{SEED} {what} {who}").sample(range(1, int(points) + 1), KILLS))
    print(f"HALAB_TEST_SEED={SEED} {what}, {who}: {chosen} of {points} points")
    for at in chosen:
        code, said, died = run(
            tiny, "snapshot", what, f"{name}-{at}" if what == "save" else name, *rest, who=who, at=at
        )
        assert code in ([-9] if who == "halab" else [0, 1]), (at, died, said)
        assert "Traceback" not in said, said
        code, said, _ = run(tiny, "settle", "tiny")
        assert code == 0, (died, said)
        check(tiny, f"{what} {at}: {died}")
    print(f"{what}, {who}: {KILLS} kills, {time.monotonic() - began:.1f} s")
