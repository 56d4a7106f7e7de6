"""Snapshots for real: VMs whose RAM and disk tell whether they fit each other; saved, damaged, brought back, forked.

The guests have no system, so no cluster and no SSH: what only a real cloud can tell is in the lab tier.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt  # type: ignore[import-untyped]
import libvirt_qemu  # type: ignore[import-untyped]
import pytest

from halab.embedded.hypervisor.waiting import wait_for
from halab.snapshot import disks, intent, store
from halab.snapshot.intent import Intent, Phase
from tests.engine.counting_vms import NODES, Counting
from tests.engine.private_libvirt import needs_libvirt

pytestmark = [
    needs_libvirt,
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def tiny() -> Iterator[Counting]:
    """A stack that is up and that each test leaves so."""
    with tempfile.TemporaryDirectory(prefix="hs") as folder:
        made = Counting(Path(folder))
        try:
            made.build()
            assert wait_for(lambda: min(made.counts().values()) > 5, 120), made.counts()
            yield made
        finally:
            assert made.hypervisor.remove() == []


def counting_on(stack: Counting, than: dict[str, int], limit: float = 120) -> bool:
    return wait_for(lambda: all(count > than[node] for node, count in stack.counts().items()), limit)


def save(stack: Counting, name: str) -> None:
    done = stack.halab("snapshot", "save", name, "--as-it-is", "--stack", stack.stack)
    assert done.returncode == 0, done.stdout + done.stderr


def restore(stack: Counting, name: str) -> None:
    done = stack.halab("snapshot", "restore", name, "--stack", stack.stack, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ok"] is True


def test_a_saved_cloud_runs_on_and_each_save_adds_a_layer_to_its_disks(tiny: Counting) -> None:
    for number, name in enumerate(("first", "second"), start=1):
        before = tiny.counts()
        save(tiny, name)
        assert tiny.running() == NODES
        assert counting_on(tiny, before)
        assert tiny.hypervisor.fence.listening()
        assert intent.read(tiny.workspace) is None
        chain = disks.chain(tiny.pool, "halab-tiny-controller-1.qcow2")
        assert len(chain) == number + 2
    folder = store.named(tiny.state, "tiny", "second").folder
    assert folder.stat().st_mode & 0o77 == 0
    assert not [path for path in folder.rglob("*") if path.stat().st_mode & 0o77 and path.parent == folder / "ram"]
    shared = (folder / "pool" / "base.raw").stat().st_ino
    assert shared == (tiny.pool / "base.raw").stat().st_ino, "nothing is copied"


def test_a_restored_cloud_is_where_it_was_and_can_be_saved_again(tiny: Counting) -> None:
    save(tiny, "there")
    saved = tiny.counts()
    # Further than they come from the restore's own end to the next look at them.
    assert counting_on(tiny, {node: count + 150 for node, count in saved.items()})
    later = tiny.counts()
    restore(tiny, "there")
    back = tiny.counts()
    assert all(back[node] < later[node] for node in NODES), (saved, later, back)
    assert counting_on(tiny, back)
    assert tiny.hypervisor.fence.listening()
    save(tiny, "again")
    assert counting_on(tiny, tiny.counts())
    restore(tiny, "there")
    assert counting_on(tiny, tiny.counts())


def kill_libvirtd(stack: Counting) -> None:
    for process in stack.hypervisor.processes():
        if process.role == "libvirtd":
            os.kill(process.pid, signal.SIGKILL)


def test_vms_that_outlived_their_libvirtd_come_back_with_the_disks_they_had(tiny: Counting) -> None:
    save(tiny, "earlier")
    assert counting_on(tiny, tiny.counts())
    for _ in range(2):
        kill_libvirtd(tiny)
        tiny.hypervisor.start()
    save(tiny, "later")
    assert counting_on(tiny, tiny.counts())
    restore(tiny, "later")
    assert counting_on(tiny, tiny.counts())


def test_ram_does_not_go_into_the_file_of_a_save_whose_libvirtd_died(tiny: Counting) -> None:
    name = "halab-tiny-controller-2"
    known = (tiny.hypervisor.paths.run / "libvirt" / "qemu" / f"{name}.xml").read_text()
    number = int(re.findall(r"<fdset index='([0-9]+)'", known)[0])
    with (tiny.folder / "old").open("w+b") as old:
        # as it is left: qemu has the file, and by what libvirt noted last its number is still to be given
        opened = {"fdset-id": number, "opaque": "libvirt-outgoing-migrate-fd"}
        command = json.dumps({"execute": "add-fd", "arguments": opened})
        with libvirt.open(tiny.hypervisor.uri) as connection:
            libvirt_qemu.qemuMonitorCommandWithFiles(connection.lookupByName(name), command, [old.fileno()], 0)
    kill_libvirtd(tiny)
    intent.note(tiny.workspace, Intent("save", str(tiny.folder / "cut"), Phase.SAVING, {}))
    save(tiny, "after")
    assert (tiny.folder / "old").stat().st_size == 0
    restore(tiny, "after")
    assert counting_on(tiny, tiny.counts())


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": lambda folder: flip(folder / "ram" / "controller-2.save"),
    "a file cut short": lambda folder: os.truncate(folder / "ram" / "controller-2.save", 1000),
    "a file that is gone": lambda folder: (folder / "state.json").unlink(),
    "a changed manifest": lambda folder: flip(folder / "manifest.json"),
}


def test_a_damaged_snapshot_is_refused_in_one_line_and_nothing_is_touched(tiny: Counting) -> None:
    save(tiny, "frail")
    folder = store.named(tiny.state, "tiny", "frail").folder
    whole = folder.with_name("whole")
    shutil.copytree(folder, whole)
    for what, damage in DAMAGES.items():
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        damage(folder)
        before, pids = tiny.counts(), {one.pid for one in tiny.hypervisor.processes()}
        done = tiny.halab("snapshot", "restore", "frail", "--stack", "tiny")
        assert done.returncode == 1, what
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "./halab snapshot rm frail --stack tiny" in done.stderr, what
        assert {one.pid for one in tiny.hypervisor.processes()} == pids, what
        assert counting_on(tiny, before), what
    assert tiny.halab("snapshot", "show", "frail", "--stack", "tiny").returncode == 1
    assert tiny.halab("snapshot", "rm", "frail", "--stack", "tiny").returncode == 0


def test_after_its_hypervisor_and_all_it_kept_are_gone_a_cloud_comes_back(tiny: Counting) -> None:
    save(tiny, "outlives")
    count = tiny.counts()
    state, keys = tiny.workspace.checkpoint.read_text(), (tiny.hypervisor.paths.keys / "seed.json").read_text()
    tiny.workspace.checkpoint.unlink()
    for name in ("halab.json", "stack.yaml"):
        (tiny.hypervisor.paths.root / name).unlink()
    assert tiny.hypervisor.remove() == []
    restore(tiny, "outlives")
    assert tiny.running() == NODES
    assert counting_on(tiny, count)
    assert tiny.hypervisor.fence.listening()
    assert (tiny.hypervisor.paths.keys / "seed.json").read_text() == keys
    resources = [json.loads(text)["checkpoint"]["latest"]["resources"] for text in (state, tiny.state_text())]
    assert resources[0] == resources[1]
    record = tiny.workspace.record()
    assert record is not None
    assert (record.verified, dict(record.fenced)) == ("2026-01-01T00:00:00Z", {"a": 1.0})


def test_a_cloud_whose_bridge_was_deleted_comes_back_on_a_new_one(tiny: Counting) -> None:
    save(tiny, "bridged")
    bridge = tiny.workspace.topology.cloud.bridge
    subprocess.run([*tiny.hypervisor.inside(), "ip", "link", "delete", bridge], check=True)
    restore(tiny, "bridged")
    shown = subprocess.run([*tiny.hypervisor.inside(), "ip", "link", "show", "master", bridge], capture_output=True)
    assert len(re.findall(rb"^\d+: vnet", shown.stdout, re.MULTILINE)) == len(NODES)
    assert counting_on(tiny, tiny.counts())


def test_a_fork_lives_beside_its_original_and_goes_without_it(tiny: Counting) -> None:
    save(tiny, "origin")
    done = tiny.halab("fork", "tiny", "mine", "--snapshot", "origin", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    mine = Counting(tiny.folder, "mine")
    try:
        assert mine.running() == tiny.running() == NODES
        assert counting_on(mine, mine.counts())
        assert mine.hypervisor.fence.listening()
        mine.virsh("destroy", "halab-tiny-controller-1")
        assert mine.running() == NODES[1:]
        assert counting_on(tiny, tiny.counts())
        assert tiny.running() == NODES
        assert mine.workspace.topology.nodes == tiny.workspace.topology.nodes
        again = tiny.halab("fork", "tiny", "mine", "--snapshot", "origin")
        assert again.returncode == 2
        assert "exists" in again.stderr
        assert counting_on(mine, mine.counts())
    finally:
        assert mine.hypervisor.remove() == []
    assert counting_on(tiny, tiny.counts())


def test_a_save_that_cannot_be_written_leaves_the_cloud_running_and_nothing_else(tiny: Counting) -> None:
    folder = store.named(tiny.state, "tiny", "x").folder.parent
    names = sorted(path.name for path in folder.iterdir())
    tiny.virsh("suspend", "halab-tiny-controller-3")
    done = tiny.halab("snapshot", "save", "x", "--as-it-is", "--stack", "tiny")
    assert done.returncode == 2
    assert "controller-3 is paused" in done.stderr
    tiny.virsh("resume", "halab-tiny-controller-3")
    assert sorted(path.name for path in folder.iterdir()) == names
    assert counting_on(tiny, tiny.counts())


def test_what_there_is_is_listed_and_what_nobody_used_is_pruned(tiny: Counting) -> None:
    rows = json.loads(tiny.halab("snapshot", "list", "--json").stdout)
    assert {"first", "second"} <= {row["name"] for row in rows}
    assert all(row["bytes"] >= row["frees"] > 0 for row in rows)
    said = tiny.halab("snapshot", "prune", "--older-than", "0m", "--named")
    assert "first of tiny" in said.stdout
    assert "--yes" in said.stdout
    assert tiny.halab("snapshot", "prune", "--older-than", "0m", "--named", "--yes").returncode == 0
    assert store.every(tiny.state) == []
    assert counting_on(tiny, tiny.counts()), "its disks' layers are the cloud's too"
