"""The faults: whom they hit in each of the five topologies, and the course of one from calm to calm."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from components.topology import Topology, derive
from components.variant import Service, load
from halab.errors import HalabError
from halab.fault import course
from halab.fault.course import Conductor, Look
from halab.fault.faults import FAULTS, Fault, Scene, active_backend, core, find
from halab.fault.outage import STEADY
from halab.fault.power import Vm
from halab.fault.probe import Loop

ROOT = Path(__file__).parents[2]
VARIANTS = ("collapsed", "segregated", "keepalived", "cloned", "endpoint")


class World:
    """VMs that can be switched, and nodes that run what they are told."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.done: list[str] = []
        self.struck: list[str] = []

    def off(self, node: str) -> None:
        self.done.append(f"off {node}")

    def on(self, node: str) -> None:
        self.done.append(f"on {node}")

    def freeze(self, node: str) -> None:
        self.done.append(f"freeze {node}")

    def thaw(self, node: str) -> None:
        self.done.append(f"thaw {node}")

    def link(self, node: str, *, up: bool) -> None:
        self.done.append(f"link {node} {'up' if up else 'down'}")

    async def run(self, node: str, script: str) -> str:
        self.done.append(f"{node}: {script.strip()}")
        return ""

    async def recover(self) -> None:
        self.done.append("recover")

    def scene(self, seed: int = 1, strike: Callable[[str], None] | None = None) -> Scene:
        holders = self.topology.vips[0].nodes
        owners = {vip.name: holders[0] for vip in self.topology.vips}
        writer = self.topology.running(Service.GALERA)[0].name
        chance = random.Random(seed)
        return Scene(self.topology, self, self.run, strike or self.struck.append, owners, writer, self.recover, chance)


@pytest.fixture(params=VARIANTS)
def topology(request: pytest.FixtureRequest) -> Topology:
    return derive(load(ROOT, request.param))


def test_every_fault_hits_nodes_that_the_topology_has(topology: Topology) -> None:
    for fault in FAULTS:
        if fault.lacking(topology):
            continue
        world = World(topology)
        victims = asyncio.run(fault.inject(world.scene()))
        assert victims, fault.name
        assert {topology.node(victim).name for victim in victims} == set(victims)
        assert len(world.struck) == 1, f"{fault.name}: the moment of the fault is marked once"
        assert world.done, fault.name


def test_what_is_killed_beside_the_owner_runs_on_the_node_that_is_hit(topology: Topology) -> None:
    for name, service in (("queue-kill", Service.RABBITMQ), ("api-kill", Service.KEYSTONE)):
        (victim,) = asyncio.run(find(name).inject(World(topology).scene()))
        assert service in topology.node(victim).services


def test_a_member_is_no_owner_and_no_writer(topology: Topology) -> None:
    scene = World(topology).scene()
    (victim,) = asyncio.run(find("member-off").inject(scene))
    assert victim != scene.writer
    assert victim not in scene.owners.values()


@pytest.mark.parametrize("name", VARIANTS)
def test_corosync_is_killed_only_where_it_is(name: str) -> None:
    topology = derive(load(ROOT, name))
    assert bool(find("corosync-kill").lacking(topology)) is (name in ("keepalived", "endpoint"))


def test_a_machine_that_no_cluster_fences_is_switched_on_by_hand(topology: Topology) -> None:
    world = World(topology)
    scene = world.scene()
    fault = find("vip-owner-off")
    assert fault.heal is not None
    victims = asyncio.run(fault.inject(scene))
    told = asyncio.run(fault.heal(scene, victims))
    assert bool(told) is not bool(topology.clusters)
    assert (f"on {victims[0]}" in world.done) is bool(told)


def test_all_nodes_of_the_clusters_go_off_and_on_in_the_order_of_the_seed(topology: Topology) -> None:
    orders = set()
    for seed in range(6):
        world, again = World(topology), World(topology)
        victims = asyncio.run(find("all-off").inject(world.scene(seed)))
        assert victims == asyncio.run(find("all-off").inject(again.scene(seed)))
        assert {f"off {node.name}" for node in core(topology)} == {one for one in world.done if one.startswith("off")}
        assert [one for one in world.done if one.startswith("on")] == [f"on {victim}" for victim in victims]
        orders.add(victims)
    assert len(orders) > 1


def test_goals_name_probes_or_the_cluster(topology: Topology) -> None:
    for fault in FAULTS:
        assert fault.goals(topology).keys() <= {"ping", "api", "token", "database", "well"}


HEAD = "# pxname,svname,scur,status,act,bck,\n"


def test_the_active_backend_is_the_one_with_clients_then_the_one_that_is_no_backup() -> None:
    rows = "galera,FRONTEND,9,OPEN,,,\ngalera,controller-1,0,UP,1,0,\ngalera,controller-2,4,UP,0,1,\n"
    assert active_backend(HEAD + rows + "galera,BACKEND,9,UP,1,1,\n", "galera") == "controller-2"
    rows = "galera,controller-2,0,UP,0,1,\ngalera,controller-1,0,UP,1,0,\n"
    assert active_backend(HEAD + rows, "galera") == "controller-1"
    assert active_backend(HEAD + "galera,controller-1,3,DOWN,1,0,\n", "galera") == ""
    assert active_backend("", "galera") == ""


class Client:
    """A probe that is answered unless the world says otherwise."""

    def __init__(self) -> None:
        self.down = False
        self.answers = 0

    def ask(self) -> None:
        if self.down:
            self.answers = 0
            raise ConnectionRefusedError(111, "refused")
        self.answers += 1


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that a course waits for, at a tenth of its time and less; its limits as they are."""
    monkeypatch.setattr(course, "_TICK", 0.02)
    monkeypatch.setattr(course, "_LOOK", 0.05)
    monkeypatch.setattr("halab.fault.probe.INTERVAL", 0.02)


class Clock:
    """The time, and as much more as a test makes pass."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The course's."""
    found = Clock()
    monkeypatch.setattr(course, "time", found)
    return found


def conduct(
    fault: Fault, client: Client, look: Callable[[], Look], vms: Callable[[], Mapping[str, Vm]], limit: float = 60.0
) -> course.Course:
    world = World(derive(load(ROOT, "collapsed")))

    async def looked() -> Look:
        return look()

    async def all_of_it() -> course.Course:
        with Loop({"api": client}) as loop:
            conductor = Conductor(fault, loop, looked, vms, settle=0.2, limit=limit, calm=0.5)
            await conductor.calm()
            return await conductor.carry_out(world.scene(strike=conductor.strike))

    return asyncio.run(all_of_it())


def on() -> dict[str, Vm]:
    return {"controller-1": Vm("1", "running")}


@pytest.mark.usefixtures("quick")
def test_a_course_ends_when_probes_and_cluster_are_well_again_and_tells_when_each_was() -> None:
    client = Client()
    vm, back, noticed = "1", 0.0, 0

    async def inject(scene: Scene) -> tuple[str, ...]:
        nonlocal vm, back
        scene.strike("controller-1 switched off")
        client.down, vm, back = True, "", time.monotonic() + 0.4
        return ("controller-1",)

    def vms() -> dict[str, Vm]:
        nonlocal vm, noticed
        if not vm and time.monotonic() > back:
            client.down, vm = False, "2"
        noticed += vm == "2" and client.answers > STEADY + 1
        return {"controller-1": Vm(vm, "running" if vm else "shut off")}

    def look() -> Look:
        # At the second such question at the latest the course knows that the probes are answered.
        late = time.monotonic() > back + 0.4 and noticed >= 2
        return Look("" if late else "galera on controller-1: Joining")

    found = conduct(Fault("off", "", "", inject, lambda _: {}), client, look, vms)
    assert found.problem == ""
    assert found.fenced["controller-1"] >= 0.4
    assert found.steady is not None
    assert found.well is not None
    assert found.steady <= found.well
    assert found.well >= 0.7
    events = [what for _, what in found.events]
    assert events[0] == "controller-1 switched off"
    assert "galera on controller-1: Joining" in events
    assert events[-1] == "all is well"


async def nothing(scene: Scene) -> tuple[str, ...]:
    scene.strike("nothing")
    return ("controller-1",)


@pytest.mark.usefixtures("quick")
def test_a_cluster_that_has_not_noticed_yet_is_not_believed_to_be_well() -> None:
    found = conduct(Fault("none", "", "", nothing, lambda _: {}), Client(), lambda: Look(), on)
    assert found.problem == ""
    assert found.well is not None
    assert found.ended >= 0.2


@pytest.mark.usefixtures("quick")
def test_a_course_that_does_not_end_well_says_what_is_not(clock: Clock) -> None:
    def look() -> Look:
        clock.skipped += 30
        return Look("no quorum")

    found = conduct(Fault("none", "", "", nothing, lambda _: {}), Client(), look, on)
    assert found.problem == "waited 60 s for all to be well; seen: no quorum"
    assert found.well is None


@pytest.mark.usefixtures("quick")
def test_a_cloud_that_does_not_answer_is_not_hit(clock: Clock) -> None:
    class Down(Client):
        def ask(self) -> None:
            clock.skipped += 30
            raise ConnectionRefusedError(111, "refused")

    with pytest.raises(HalabError, match=r"api: not answered .* Connection refused"):
        conduct(Fault("none", "", "", nothing, lambda _: {}), Down(), lambda: Look(), on)


@pytest.mark.usefixtures("quick")
def test_what_must_never_be_is_kept_even_if_it_passes() -> None:
    looks = iter([Look("two owners", breach="VIP galera is held by controller-1, controller-2 at once")] * 2)
    found = conduct(Fault("none", "", "", nothing, lambda _: {}), Client(), lambda: next(looks, None) or Look(), on)
    assert found.problem == ""
    assert found.breaches == ["VIP galera is held by controller-1, controller-2 at once"]


@pytest.mark.usefixtures("quick")
def test_a_libvirt_that_misses_a_question_ends_no_course() -> None:
    asked = 0

    def vms() -> dict[str, Vm]:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise HalabError("virsh list: no answer within 30 s")
        return on()

    looks = iter([HalabError("libvirt: no answer")])

    def look() -> Look:
        if error := next(looks, None):
            raise error
        return Look()

    found = conduct(Fault("none", "", "", nothing, lambda _: {}), Client(), look, vms)
    assert found.problem == ""
    assert "libvirt: no answer" in [what for _, what in found.events]
