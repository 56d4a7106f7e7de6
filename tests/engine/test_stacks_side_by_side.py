"""Stacks that really run beside each other, as the process table shows them: found, counted, and listed at once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import libvirt  # type: ignore[import-untyped]
import pytest

from components.topology import derive
from components.variant import load
from halab.embedded.hypervisor import Hypervisor
from halab.stacks import admission, budget
from halab.stacks.claims import EMBEDDED
from halab.stacks.known import Condition
from halab.stacks.machines import running
from halab.stacks.survey import survey
from halab.workspace import Workspace, now
from tests.engine.private_libvirt import needs_libvirt

ROOT = Path(__file__).parents[2]
pytestmark = needs_libvirt
MEMORY, TRANSLATIONS = 48, 32


def stand(state: Path, name: str, running: int, cleanup: ExitStack) -> Workspace:
    """A stack as an up leaves it, with so many of its VMs defined and running, one more only defined."""
    workspace = Workspace(ROOT, derive(replace(load(ROOT, "collapsed"), name=name)), state)
    workspace.note(hypervisor=EMBEDDED, owner="somebody", since=now(), built=now())
    workspace.description.write_text((ROOT / "stacks" / "Pulumi.collapsed.yaml").read_text())
    if running:
        hypervisor = Hypervisor(name, state, kvm=False)
        cleanup.callback(hypervisor.remove)
        hypervisor.start()
        connection = libvirt.open(hypervisor.uri)
        for index, node in enumerate(workspace.topology.nodes[: running + 1]):
            domain = connection.defineXML(
                f"<domain type='qemu'><name>{node.domain}</name><memory unit='MiB'>{MEMORY}</memory>"
                "<os><type arch='x86_64' machine='pc'>hvm</type></os><features><tcg>"
                f"<tb-cache unit='MiB'>{TRANSLATIONS}</tb-cache></tcg></features></domain>"
            )
            if index < running:
                domain.create()
        connection.close()
    return workspace


@pytest.fixture
def stacks() -> Iterator[dict[str, Workspace]]:
    """Two that run, three that are off."""
    with tempfile.TemporaryDirectory(prefix="hl") as folder, ExitStack() as cleanup:
        counts = {"left": 2, "right": 1, "off-1": 0, "off-2": 0, "off-3": 0}
        yield {name: stand(Path(folder), name, count, cleanup) for name, count in counts.items()}


def test_what_runs_is_told_apart_counted_and_held_against_the_host(
    stacks: dict[str, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = stacks["left"], stacks["right"]
    mine = [one for one in running() if one.root in (left.paths.root, right.paths.root)]
    vms = {(one.root, one.domain): (one.memory, one.translations) for one in mine if one.domain}
    assert vms == {
        (left.paths.root, left.topology.nodes[0].domain): (MEMORY, TRANSLATIONS),
        (left.paths.root, left.topology.nodes[1].domain): (MEMORY, TRANSLATIONS),
        (right.paths.root, right.topology.nodes[0].domain): (MEMORY, TRANSLATIONS),
    }

    began = time.process_time()
    rows = {row.name: row for row in survey(ROOT, left.state) if row.state == str(left.state)}
    # Seconds of CPU: on an idle host what a user waits.
    assert time.process_time() - began < 2
    assert {name: (rows[name].condition, rows[name].running, rows[name].defined) for name in stacks} == {
        "left": (Condition.UP, 2, 3),
        "right": (Condition.UP, 1, 2),
        "off-1": (Condition.STOPPED, 0, 0),
        "off-2": (Condition.STOPPED, 0, 0),
        "off-3": (Condition.STOPPED, 0, 0),
    }
    one = MEMORY + TRANSLATIONS + budget.QEMU_OVERHEAD
    assert rows["left"].promised == 2 * one
    assert rows["left"].memory > rows["off-1"].memory == 0
    assert rows["left"].disk > 0

    monkeypatch.setattr("halab.stacks.host.memory", lambda: 4096)
    monkeypatch.setattr("halab.stacks.host.free", lambda folder: 1 << 50)
    (line,) = admission.look(stacks["off-1"], EMBEDDED, emulated=True).shortages
    assert f", stack left {2 * one} MiB" in line
    assert f", stack right {one} MiB" in line
    assert "off-2" not in line
