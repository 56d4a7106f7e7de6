"""Whether a node can go now: who of each cluster works, as `halab status` sees it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from components.topology import Topology, derive
from components.variant import load
from halab import impact
from halab.actions.replace import refusals, scope, working
from halab.status import Member, NodeLine, Report, ServiceLine
from halab.workspace import Workspace

ROOT = Path(__file__).parents[2]
NAMES = ("controller-1", "controller-2", "controller-3")


@pytest.fixture
def topology() -> Topology:
    return derive(load(ROOT, "collapsed"))


def report(dead: str = "") -> Report:
    """Three controllers, of which one may be off: then no member of galera and rabbitmq is well as `status` says it."""
    alive = [name for name in NAMES if name != dead]
    nodes = tuple(
        NodeLine(name, "running", "OFFLINE" if name == dead else "online", 100, (), "", name != dead) for name in NAMES
    )
    galera = tuple(Member(n, "Synced", not dead) if n in alive else Member(n, "unreachable", False) for n in NAMES)
    peers = f"{len(alive) - 1} of 2 peers"
    rabbitmq = tuple(Member(n, peers, not dead) if n in alive else Member(n, "unreachable", False) for n in NAMES)
    services = (
        ServiceLine("galera", "Pacemaker", galera, "", not dead),
        ServiceLine("rabbitmq", "Pacemaker", rabbitmq, "", not dead),
    )
    return Report("collapsed", nodes, (), services, (), (), ())


def test_a_healthy_cloud_can_do_without_any_one_controller(topology: Topology, tmp_path: Path) -> None:
    for name in NAMES:
        assert refusals(Workspace(ROOT, topology, tmp_path), topology.node(name), report()) == []


def test_the_dead_one_can_be_replaced_and_no_other(topology: Topology, tmp_path: Path) -> None:
    workspace, seen = Workspace(ROOT, topology, tmp_path), report("controller-2")
    assert working(topology, seen)["galera"] == {"controller-1", "controller-3"}
    assert refusals(workspace, topology.node("controller-2"), seen) == []
    refused = refusals(workspace, topology.node("controller-1"), seen)
    assert [line.partition(":")[0] for line in refused[:3]] == ["Pacemaker cluster core", "galera", "rabbitmq"]
    assert "mend the others first" in refused[-1]


def test_a_member_that_still_takes_its_state_has_no_vote_to_give(topology: Topology) -> None:
    healthy = report()
    joining = tuple(
        replace(one, state="Joining: receiving State Transfer") if one.node == "controller-3" else one
        for one in healthy.services[0].members
    )
    seen = replace(healthy, services=(replace(healthy.services[0], members=joining), healthy.services[1]))
    assert impact.short_of_votes(topology, "controller-1", working(topology, seen)) == [
        "galera: without controller-1 1 of 3 would work (controller-2), and a quorum is 2"
    ]


def test_the_only_storage_is_not_replaced(topology: Topology, tmp_path: Path) -> None:
    (line,) = refusals(Workspace(ROOT, topology, tmp_path), topology.node("storage-1"), report())
    assert line.startswith("storage-1 alone holds the images of glance")


def test_nothing_changes_but_the_node_and_the_steps_that_name_it(topology: Topology, tmp_path: Path) -> None:
    workspace = Workspace(ROOT, topology, tmp_path)
    targets = set(scope(workspace, topology.node("controller-2")))
    assert {"controller-2-root", "controller-2-domain", "galera.configure@controller-2"} <= targets
    assert "rabbitmq.member@controller-3" in targets
    assert not [name for name in targets if name.endswith("@controller-1") and "push" not in name]
