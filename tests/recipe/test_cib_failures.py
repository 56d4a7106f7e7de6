"""What Pacemaker does with the rendered configurations when nodes and services fail, by its own scheduler."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.plan import managed
from components.topology import Cluster, Topology, derive
from components.variant import Service, load
from tests.recipe.simulator import Simulation
from tests.recipe.test_cib import PROJECT, SIMULATE, needs_pacemaker

pytestmark = needs_pacemaker


def release() -> tuple[int, ...]:
    """Of the host's Pacemaker; the guests' is 3.0."""
    said = subprocess.run([SIMULATE or "false", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Pacemaker (\d+)\.(\d+)", said)
    return tuple(int(part) for part in found.groups()) if found else ()


#: Older schedulers let clones change nodes where VIPs with preferences hang on them.
SHUFFLES = release() < (3, 0)


def clusters(with_remotes: bool = False) -> Iterator[object]:
    for name in ("collapsed", "cloned", "segregated"):
        topology = derive(load(PROJECT, name))
        for cluster in topology.clusters:
            if cluster.remotes or not with_remotes:
                yield pytest.param(topology, cluster, id=f"{name}-{cluster.name}")


every_cluster = pytest.mark.parametrize(("topology", "cluster"), list(clusters()))


@pytest.fixture
def cloned(tmp_path: Path) -> Simulation:
    """The stack whose APIs are clones too."""
    topology = derive(load(PROJECT, "cloned"))
    return Simulation(topology, topology.clusters[0], tmp_path)


def interval(topology: Topology, service: Service) -> int:
    """Of the monitor that watches a running instance."""
    (resource,) = (one for one in managed(topology) if one.service is service)
    return next(op.interval for op in resource.operations if op.name == "monitor" and op.role != "Unpromoted")


def vips(topology: Topology) -> set[str]:
    return {vip.resource for vip in topology.vips}


@every_cluster
def test_all_runs_where_it_should_once_the_cluster_has_settled(
    topology: Topology, cluster: Cluster, tmp_path: Path
) -> None:
    running = Simulation(topology, cluster, tmp_path).running()
    for resource in managed(topology):
        homes = {node.name for node in cluster.members if resource.service in node.services}
        assert running.get(resource.service, set()) == homes, resource.service


@every_cluster
def test_a_lost_member_is_fenced_and_costs_the_others_nothing(
    topology: Topology, cluster: Cluster, tmp_path: Path
) -> None:
    simulation = Simulation(topology, cluster, tmp_path)
    lost, *others = [node.name for node in cluster.members]
    held = {name for name, nodes in simulation.running().items() if lost in nodes}
    reaction = simulation.lose(lost)
    assert reaction.fenced == {lost}
    for other in others:
        assert reaction.stopped(other) == set(), other
    now = simulation.running()
    for vip in held & vips(topology):
        (owner,) = now[vip]
        assert owner in others
    # Each is still at hand to fence the next.
    assert now["fence-a"] | now["fence-b"] <= set(others)
    for remote in cluster.remotes:
        assert now[remote.name] <= set(others)


@every_cluster
def test_a_minority_fences_nobody_and_lets_go_of_everything(
    topology: Topology, cluster: Cluster, tmp_path: Path
) -> None:
    simulation = Simulation(topology, cluster, tmp_path)
    alone, *others = [node.name for node in cluster.members]
    gone = [option for other in others for option in ("--node-fail", other)]
    reaction = simulation.react("--quorum", "0", *gone)
    assert reaction.fenced == set()
    left = {name for name, nodes in simulation.running().items() if alone in nodes} - {"fence-a", "fence-b"}
    assert left == set()


@pytest.mark.parametrize(("topology", "cluster"), list(clusters(with_remotes=True)))
def test_a_lost_remote_node_is_fenced_and_nothing_else_moves(
    topology: Topology, cluster: Cluster, tmp_path: Path
) -> None:
    simulation = Simulation(topology, cluster, tmp_path)
    remote = cluster.remotes[0].name
    (host,) = simulation.running()[remote]
    # What comes after it depends on the node's being back, which no simulation knows.
    reaction = simulation.once(*simulation.failure(remote, host, topology.stack.timers.remote_monitor))
    assert reaction.fenced == {remote}
    assert {what for _, what, _ in reaction.done} <= {remote}


@every_cluster
def test_a_failed_service_is_started_again_on_its_node(topology: Topology, cluster: Cluster, tmp_path: Path) -> None:
    for resource in managed(topology):
        homes = [node.name for node in cluster.members if resource.service in node.services]
        if not homes or resource.service is Service.GALERA or (SHUFFLES and resource.service is Service.HAPROXY):
            continue
        folder = tmp_path / resource.service
        folder.mkdir()
        simulation = Simulation(topology, cluster, folder)
        reaction = simulation.fail(resource.service, homes[0], interval(topology, resource.service))
        assert reaction.on("start", resource.service) == {homes[0]}
        assert reaction.fenced == set()
        assert simulation.running()[resource.service] == set(homes)


#: What Pacemaker takes down with a service on the same node, by the order of the clones (keystone.scenario of the
#: reference implementation: mandatory orders, so that a restart goes through).
TAKEN = {
    Service.PLACEMENT: set[str](),
    Service.GLANCE: set[str](),
    Service.KEYSTONE: {"glance", "placement"},
    Service.MEMCACHED: {"keystone", "glance", "placement"},
    Service.RABBITMQ: {"keystone", "glance", "placement"},
    Service.HAPROXY: {"keystone", "glance", "placement"},
}


@pytest.mark.parametrize("service", TAKEN, ids=str)
def test_a_failed_clone_takes_along_what_needs_it_on_its_node_only(cloned: Simulation, service: Service) -> None:
    if SHUFFLES and service is Service.HAPROXY:
        pytest.skip("the host's Pacemaker is older than the guests' 3.0, and moves clones about")
    node, *others = [member.name for member in cloned.cluster.members]
    before = cloned.running()
    reaction = cloned.fail(service, node, interval(cloned.topology, service))
    assert reaction.stopped(node) - {service} - vips(cloned.topology) == TAKEN[service]
    for other in others:
        assert reaction.stopped(other) == set(), other
    after = cloned.running()
    assert {name: nodes for name, nodes in after.items() if name not in vips(cloned.topology)} == {
        name: nodes for name, nodes in before.items() if name not in vips(cloned.topology)
    }


def test_each_vip_starts_on_a_node_of_its_own_as_far_as_there_are_nodes(cloned: Simulation) -> None:
    running = cloned.running()
    owners = [owner for vip in cloned.topology.vips for owner in running[vip.resource]]
    assert len(owners) == len(cloned.topology.vips)
    assert len(set(owners)) == len(cloned.cluster.members)


def test_no_api_runs_on_a_node_whose_database_cannot_be_promoted(tmp_path: Path) -> None:
    topology = derive(load(PROJECT, "cloned"))
    unfit, *fit = [node.name for node in topology.clusters[0].members]
    running = Simulation(topology, topology.clusters[0], tmp_path, frozenset({unfit})).running()
    for api in ("keystone", "glance", "placement"):
        assert running[api] == set(fit)
