"""The order of a fence proof, and what counts as back; against a cluster that is played."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.cluster import fencing
from components.topology import Topology, derive
from components.variant import load
from halab import crm, fence_proof
from halab.errors import HalabError

RESOURCES = """
<resource id="vip-galera" resource_agent="ocf:heartbeat:IPaddr2" role="Started" active="true" managed="true">
  <node name="controller-1"/></resource>
<clone id="galera-clone">{instances}</clone>
"""
INSTANCE = """<resource id="galera" resource_agent="ocf:heartbeat:galera" role="{role}" active="true" managed="true">
<node name="{node}"/></resource>"""


class Played:
    """A cluster of the topology's nodes; a fenced node is away for a few looks, then back with another boot."""

    def __init__(self, topology: Topology, away: int = 2, dead: str = "") -> None:
        self.topology, self.away, self.dead = topology, away, dead
        self.boots = {node.name: 1 for node in topology.nodes}
        self.hidden: dict[str, int] = {}
        self.fenced: list[str] = []
        self.witnesses: dict[str, str] = {}
        self.most = 0
        self.left: dict[str, int] = {}

    def jobs(self, node: str) -> int:
        """Units that a boot still has to start: fewer at every look."""
        self.left[node] = max(0, self.left.get(node, 0) - 1)
        return self.left[node]

    def _members_away(self) -> int:
        """The most of any one cluster."""
        away = {name for name, left in self.hidden.items() if left > 0}
        return max(len(away & {node.name for node in cluster.members}) for cluster in self.topology.clusters)

    async def run(self, node: str, script: str) -> str:
        await asyncio.sleep(0)
        if script.startswith("stonith_admin"):
            target = script.split()[2]
            assert target != node
            self.fenced.append(target)
            self.witnesses[target] = node
            self.hidden[target] = self.away
            self.boots[target] += 1
            self.most = max(self.most, self._members_away())
            return ""
        if self.hidden.get(node, 0) > 0 or (node == self.dead and node in self.fenced):
            self.hidden[node] = self.hidden.get(node, 1) - 1
            raise HalabError(f"{node}: no answer")
        return self.state(node) if script == crm.COMMAND else f"{self.boots[node]}\n{self.jobs(node)}\n0\n"

    def state(self, member: str) -> str:
        """What a member says of its cluster."""
        up = {n.name for n in self.topology.nodes if self.hidden.get(n.name, 0) <= 0}
        cluster = self.topology.cluster_of(self.topology.node(member))
        assert cluster is not None
        nodes = "".join(
            f'<node name="{n.name}" type="member" online="{str(n.name in up).lower()}"/>'
            for n in (*cluster.members, *cluster.remotes)
        )
        instances = "".join(INSTANCE.format(node=n.name, role="Promoted") for n in cluster.members if n.name in up)
        return (
            f'<pacemaker-result><summary><current_dc name="{cluster.members[0].name}" with_quorum="true"/></summary>'
            f"<nodes>{nodes}</nodes><resources>{RESOURCES.format(instances=instances)}</resources></pacemaker-result>"
        )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are of looks at a clock, of which each is a hundredth of a second: no busy host is late for them."""
    clock = SimpleNamespace(monotonic=count(0.0, 0.01).__next__)
    monkeypatch.setattr(fence_proof, "_PAUSE", 0)
    monkeypatch.setattr(fence_proof, "time", clock)


def test_every_vm_is_fenced_once_and_the_dc_last(collapsed: Topology) -> None:
    played = Played(collapsed)
    proofs = asyncio.run(fence_proof.prove(collapsed, played.run))
    assert sorted(played.fenced) == sorted(node.name for node in collapsed.nodes)
    assert played.fenced[-1] == "controller-1"
    assert [proof.problem for proof in proofs] == [""] * len(collapsed.nodes)
    assert all(proof.fenced is not None and proof.back is not None and proof.fenced <= proof.back for proof in proofs)


def test_a_member_is_fenced_only_when_the_others_of_its_round_are(collapsed: Topology) -> None:
    played = Played(collapsed)
    ended: list[str] = []

    async def run(node: str, script: str) -> str:
        answer = await played.run(node, script)
        if script.startswith("stonith_admin"):
            target = script.split()[2]
            for _ in range(5 if target == "storage-1" else 1):
                await asyncio.sleep(0)
            ended.append(target)
        return answer

    asyncio.run(fence_proof.prove(collapsed, run))
    assert [name for name in played.fenced if name.startswith("controller")] == played.fenced[-3:]
    assert set(ended[:3]) == {"compute-1", "storage-1", "gateway-1"}


def test_never_more_than_one_member_is_away(collapsed: Topology) -> None:
    played = Played(collapsed, away=5)
    asyncio.run(fence_proof.prove(collapsed, played.run))
    assert played.most == 1


def test_each_cluster_proves_its_own_side_by_side_and_is_never_short_of_two_members() -> None:
    topology = derive(load(Path(__file__).parents[2], "segregated"))
    played = Played(topology)
    proofs = asyncio.run(fence_proof.prove(topology, played.run, limit=5))
    assert [proof.problem for proof in proofs] == [""] * len(topology.nodes)
    assert sorted(played.fenced) == sorted(node.name for node in topology.nodes)
    assert played.most == 1
    for cluster in topology.clusters:
        mine = {node.name for node in fencing.targets(topology, cluster)}
        assert {played.witnesses[name] for name in mine} <= {node.name for node in cluster.members}


@pytest.mark.parametrize("abreast", [1, 3])
def test_no_more_vms_are_on_their_way_back_than_the_host_can_boot(abreast: int) -> None:
    topology = derive(load(Path(__file__).parents[2], "segregated"))
    played = Played(topology, away=4)
    away: set[str] = set()
    most = 0

    async def run(node: str, script: str) -> str:
        nonlocal most
        if script.startswith("stonith_admin"):
            away.add(script.split()[2])
            most = max(most, len(away))
        return await played.run(node, script)

    proofs = asyncio.run(
        fence_proof.prove(topology, run, limit=20, abreast=abreast, done=lambda proof: away.discard(proof.node))
    )
    assert [proof.problem for proof in proofs] == [""] * len(topology.nodes)
    assert most == abreast


def test_the_next_member_need_not_wait_for_what_systemd_starts_but_the_one_after_it_must(collapsed: Topology) -> None:
    played = Played(collapsed)
    order: list[str] = []

    async def run(node: str, script: str) -> str:
        answer = await played.run(node, script)
        if script.startswith("stonith_admin"):
            order.append(f"fence {script.split()[2]}")
            played.left[script.split()[2]] = 20
        return answer

    proofs = asyncio.run(
        fence_proof.prove(
            collapsed, run, [n.name for n in collapsed.clusters[0].members], done=lambda p: order.append(p.node)
        )
    )
    assert [proof.problem for proof in proofs] == [""] * 3
    fenced = ["controller-2", "controller-3", "controller-1"]
    assert [one for one in order if one.startswith("fence")] == [f"fence {name}" for name in fenced]
    assert order.index("fence controller-3") < order.index("controller-2") < order.index("fence controller-1")


def test_a_node_that_still_starts_its_units_is_not_back(collapsed: Topology) -> None:
    played = Played(collapsed)
    played.left = {"storage-1": 10_000}
    (proof,) = asyncio.run(fence_proof.prove(collapsed, played.run, ["storage-1"], limit=1.0))
    assert "units still starting" in proof.problem


def test_a_member_that_stays_away_keeps_the_others_from_being_fenced(collapsed: Topology) -> None:
    played = Played(collapsed, dead="controller-2")
    proofs = {p.node: p for p in asyncio.run(fence_proof.prove(collapsed, played.run, limit=2.0))}
    assert "controller-1" not in played.fenced
    assert "controller-3" not in played.fenced
    assert "last seen: controller-2: no answer" in proofs["controller-2"].problem
    assert proofs["controller-1"].problem == "not tried: controller-2 did not come back"
    assert proofs["compute-1"].problem == ""


def test_a_busy_node_that_misses_a_question_is_asked_again_before_it_is_fenced(collapsed: Topology) -> None:
    played = Played(collapsed)
    missed: set[str] = set()

    async def run(node: str, script: str) -> str:
        if node not in missed:
            missed.add(node)
            raise HalabError(f"{node}: no answer within 20 s")
        return await played.run(node, script)

    proofs = asyncio.run(fence_proof.prove(collapsed, run))
    assert [proof.problem for proof in proofs] == [""] * len(collapsed.nodes)


def test_a_fencing_that_ends_no_boot_is_no_proof(collapsed: Topology) -> None:
    played = Played(collapsed)

    async def run(node: str, script: str) -> str:
        return "" if script.startswith("stonith_admin") else await played.run(node, script)

    (proof,) = asyncio.run(fence_proof.prove(collapsed, run, ["storage-1"], limit=1.0))
    assert "the boot that was to be ended" in proof.problem


def test_a_node_is_not_back_before_its_instances_are(collapsed: Topology) -> None:
    before = crm.parse(Played(collapsed).state("controller-1"))
    slower = replace(
        before,
        resources=tuple(replace(r, role="Unpromoted") if "controller-2" in r.nodes else r for r in before.resources),
    )
    assert fence_proof.lost(before, slower, "controller-2") == ("galera promoted on controller-2",)
    assert fence_proof.lost(before, slower, "controller-3") == ()
