"""kill -9 of an up, a rebuild and a down at every point, and of libvirtd meanwhile: the rerun leaves nothing over.

After each rerun the hypervisor holds what the state says, one by one, and every command has run on the present disk.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt  # type: ignore[import-untyped]
import pytest

from halab.embedded.hypervisor import Hypervisor
from halab.embedded.hypervisor.waiting import wait_for
from tests.engine import inventory
from tests.engine.crash_world import MACHINES, POOL, PROJECT, STACK
from tests.engine.private_libvirt import needs_libvirt

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.timeout(600),
    needs_libvirt,
]
#: Where things die: at the same points in every run, unless others are asked for; 0: any.
SEED = int(os.environ.get("HALAB_TEST_SEED", "1")) or random.SystemRandom().randrange(1, 10**6)
#: Kills of each kind of run, and of libvirtd; more of them than a test run has time for find what a change broke.
EACH, DAEMONS = int(os.environ.get("HALAB_TEST_KILLS", "4")), int(os.environ.get("HALAB_TEST_DAEMON_KILLS", "3"))


@dataclass
class World:
    """One state over one hypervisor, and the process that runs the engine on them."""

    folder: Path
    hypervisor: Hypervisor
    server: subprocess.Popen[str]

    def do(self, *what: str, generation: int = 1, running: str = "", **rest: Any) -> dict[str, Any]:
        """What one run came to; `at` is the point at which it dies."""
        order = {
            "folder": str(self.folder),
            "uri": self.hypervisor.uri,
            "disks": str(self.hypervisor.paths.pool / POOL),
        }
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(
            json.dumps(order | {"do": what, "generation": generation, "running": running} | rest) + "\n"
        )
        self.server.stdin.flush()
        answer: dict[str, Any] = json.loads(self.server.stdout.readline())
        assert answer.get("error") is None, answer
        return answer

    def good(self, *what: str, **rest: Any) -> dict[str, Any]:
        done = self.do(*what, **rest)
        assert done["failures"] == [], (self.died, done["failures"])
        return done

    @property
    def died(self) -> str:
        """Where the last run died that was told to."""
        file = self.folder / "died-last"
        if (self.folder / "died").exists():
            os.replace(self.folder / "died", file)
        return file.read_text() if file.exists() else ""

    def check(self, *, up: bool) -> None:
        """What is there is what the state says; up: all of it, and each command has run on the disk of today."""
        there = inventory.known(self.folder / "state" / PROJECT / f"{STACK}.json")
        assert inventory.real(self.hypervisor) == there, self.died
        wanted = {"pool": 1, "network": 1, "volume": 1 + 2 * len(MACHINES), "domain": len(MACHINES)}
        assert Counter(line.split()[0] for line in there) == (wanted if up else {}), self.died
        notes = {note.name: note.read_text() for note in (self.folder / "done").iterdir()}
        for machine in MACHINES if up else ():
            disk = self.hypervisor.paths.pool / POOL / f"{machine}.qcow2"
            now = subprocess.run(["stat", "-c", "%i %w", disk], check=True, capture_output=True, text=True).stdout
            assert notes[f"{machine}-inside"] == notes[f"{machine}-member"] == now, (self.died, machine)
        if not up:
            assert not [name for name in notes if name.endswith("member")], self.died

    def libvirtd(self) -> int:
        (one,) = [one for one in self.hypervisor.processes() if one.role == "libvirtd"]
        return one.pid


@contextmanager
def opened(folder: Path) -> Iterator[World]:
    """A world below a folder, nothing of which is left."""
    (folder / "lab").mkdir()
    (folder / "lab" / "image.raw").write_bytes(random.Random(1).randbytes(1 << 18) + bytes(1 << 18))
    hypervisor = Hypervisor("w", folder, kvm=False)
    with subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("crash_world.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
    ) as server:
        try:
            hypervisor.start()
            yield World(folder / "lab", hypervisor, server)
        finally:
            assert server.stdin is not None
            server.stdin.close()
            assert hypervisor.remove() == []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened(tmp_path_factory.mktemp("w")) as made_:
        yield made_


def chosen(count: int, points: int, what: str) -> list[int]:
    """`count` of the points, ascending; the seed says which."""
    found = sorted(random.Random(f"{SEED} {what}").sample(range(1, points + 1), min(count, points)))
    print(f"HALAB_TEST_SEED={SEED} {what}: {found} of {points} points")
    return found


def test_a_run_that_is_killed_anywhere_goes_on_and_leaves_nothing_over(world: World) -> None:
    points = {
        "up": world.good("up")["points"],
        "rebuild": world.good("up", generation=2)["points"],
        "down": world.good("destroy")["points"],
    }
    plan = {what: chosen(EACH, count, what) for what, count in points.items()}
    began = time.monotonic()
    for number in range(EACH):
        running = MACHINES[0] if number % 3 == 0 else ""
        for what, generation in (("up", 1), ("rebuild", 2), ("down", 2)):
            run = "destroy" if what == "down" else "up"
            at = plan[what][number]
            done = world.do(run, generation=generation, running=running, at=at)
            # Commits that meet share a write, so that another run of the same may have fewer points.
            assert done["killed"] or done["points"] < at, (what, at, done)
            # A rebuild is cut off between two things that only a look at what is there tells apart.
            look = ["refresh"] if what == "rebuild" else []
            world.good(*look, run, generation=generation, running=running)
            world.check(up=what != "down")
            assert what == "down" or not made(world.good("up", generation=generation, running=running))
    print(f"{3 * EACH} kills: {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("number", range(DAEMONS))
def test_a_libvirtd_that_is_killed_anywhere_is_started_again_and_nothing_is_left_over(
    world: World, number: int
) -> None:
    random_ = random.Random(f"{SEED} libvirtd {number}")
    what = ("up", "rebuild", "down")[number % 3]
    generation = 1 + (what == "rebuild")
    running = MACHINES[0] if number % 2 == 0 else ""
    if what != "up":
        world.good("up", running=running)
    at, delay = random_.randrange(1, 80), random_.choice([0, 0.005, 0.3]) * random_.random()
    run = "destroy" if what == "down" else "up"
    world.do(run, generation=generation, running=running, at=at, daemon=world.libvirtd(), delay=delay)
    print(f"HALAB_TEST_SEED={SEED} {what}: {world.died}, {delay:.3f} s later")
    world.hypervisor.start()
    world.good("refresh", run, generation=generation, running=running)
    world.check(up=what != "down")
    world.good("destroy")
    world.check(up=False)


def test_a_libvirtd_that_is_killed_while_it_starts_a_network_leaves_no_bridge_in_the_way(world: World) -> None:
    for delay in (0.004, 0.02):
        done = world.do("up", only="before virNetwork.create", at=1, daemon=world.libvirtd(), delay=delay)
        assert any("went away" in line for line in done["failures"]), done
        world.hypervisor.start()
        world.good("refresh", "up")
        world.check(up=True)
        world.good("destroy")


def test_only_what_was_removed_behind_our_back_is_made_again(world: World) -> None:
    world.good("up", running="a")
    before, disks = inventory.real(world.hypervisor), world.hypervisor.paths.pool / POOL
    connection = libvirt.open(world.hypervisor.uri)
    connection.lookupByName("b").undefine()
    connection.close()
    kept = (disks / "b.qcow2").stat().st_ino
    # Its steps run again where they are: its disk is what it was, so nobody else is told of a new machine.
    assert made(world.good("refresh", "up", running="a")) == {"b-domain": "create", "b-inside": "replace"}
    assert (disks / "b.qcow2").stat().st_ino == kept
    world.check(up=True)
    (disks / "a.qcow2").unlink()
    changes = made(world.good("refresh", "up", running="a"))
    assert changes == {"a-root": "replace", "a-domain": "replace", "a-inside": "replace", "a-member": "replace"}
    world.check(up=True)
    assert inventory.real(world.hypervisor) == before
    world.good("destroy")


def test_a_vm_that_stands_still_is_resumed_and_one_whose_seed_is_junk_is_another(world: World) -> None:
    world.good("up", running="a")
    before = inventory.real(world.hypervisor)
    connection = libvirt.open(world.hypervisor.uri)
    # as qemu does when the file system under a disk is full
    connection.lookupByName("a").suspend()
    assert made(world.good("refresh", "up", running="a")) == {"a-domain": "update"}
    assert connection.lookupByName("a").state()[0] == libvirt.VIR_DOMAIN_RUNNING
    connection.close()
    os.truncate(world.hypervisor.paths.pool / POOL / "b-seed.iso", 5000)
    parts = ("b-seed", "b-root", "b-domain", "b-inside", "b-member")
    assert made(world.good("refresh", "up", running="a")) == dict.fromkeys(parts, "replace")
    world.check(up=True)
    assert inventory.real(world.hypervisor) == before
    world.good("destroy")


def test_after_a_reboot_of_the_host_everything_is_there_again(world: World) -> None:
    world.good("up", running="a")
    before = inventory.real(world.hypervisor)
    reboot(world.hypervisor)
    world.hypervisor.start()
    assert made(world.good("refresh", "up", running="a")) == {"a-domain": "update"}
    world.check(up=True)
    assert inventory.real(world.hypervisor) == before
    world.good("destroy")


def made(done: dict[str, Any]) -> dict[str, str]:
    return {name: op for op, name in done["steps"] if op not in ("delete-replaced", "create-replacement")}


def reboot(hypervisor: Hypervisor) -> None:
    """Ends everything of the stack without warning; /run is empty, and the boot is another."""
    for process in hypervisor.processes():
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    assert wait_for(lambda: not hypervisor.processes(), 60)
    shutil.rmtree(hypervisor.paths.run)
    record = hypervisor.paths.root / "namespaces.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"boot": "another"}))
