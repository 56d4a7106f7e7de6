"""The plan of every stack: orders that a cloud needs, edges between stages, and what each step brings with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from components import dot
from components.plan import plan
from components.topology import Topology, derive
from components.variant import Membership, Role, RoleSpec, Service, load

PROJECT = Path(__file__).resolve().parents[2]


def large() -> Topology:
    """Fifteen controllers and a hundred computes."""
    counts = {Role.CONTROLLER: 15, Role.COMPUTE: 100}
    stack = load(PROJECT, "collapsed")
    return derive(replace(stack, roles=tuple(replace(s, count=counts.get(s.role, s.count)) for s in stack.roles)))


def test_every_node_boots_and_gets_its_secrets_before_anything_else(topology: Topology) -> None:
    graph = plan(topology)
    for step in graph.steps:
        if step.stage != "machine":
            assert f"machine.secrets@{step.node}" in graph.ancestors(step.name), step.name
    roots = {step.name for step in graph.steps if not step.after}
    assert roots == {f"machine.ready@{node.name}" for node in topology.nodes}


def test_stages_meet_only_at_gates_and_at_what_is_configured(topology: Topology) -> None:
    graph = plan(topology)
    for step in graph.steps:
        for before in (graph.by_name[name] for name in step.after):
            own = before.recipe == step.recipe or before.name == f"machine.secrets@{step.node}"
            joined = {before.stage, step.stage} <= {"corosync", "pacemaker", "remote"}
            enters = (before.action, step.action) == ("start", "enter") or before.action == "enter"
            enters |= (before.stage, step.stage) == ("galera", "garbd")
            gate = before.is_gate or before.action == "configure"
            assert own or joined or enters or gate, f"{step.name} after {before.name}"


@pytest.mark.parametrize("name", ["keepalived", "endpoint", "collapsed"])
def test_what_systemd_runs_is_started_again_when_its_files_change(name: str) -> None:
    stack = load(PROJECT, name)
    timers = replace(stack.timers, galera_suspect=33, haproxy_check=7)
    before, after = plan(derive(stack)), plan(derive(replace(stack, timers=timers)))
    placed = {step.name for step in after.steps if step.action in ("configure", "enter")}
    changed = {one for one in placed if after.by_name[one].script() != before.by_name[one].script()}
    assert {one.partition(".")[0] for one in changed} >= {"galera", "haproxy"}
    for start in (one.replace(".configure@", ".start@") for one in changed):
        if start in after.by_name and ".start@" in start:
            assert after.by_name[start].script() != before.by_name[start].script(), start


def test_a_minority_of_databases_restarts_at_once_however_many_there_are() -> None:
    stack = load(PROJECT, "keepalived")
    for count in (3, 5, 15):
        topology = derive(replace(stack, roles=tuple(_counted(spec, count) for spec in stack.roles)))
        graph = plan(topology)
        names = [f"galera.start@{node.name}" for node in topology.running(Service.GALERA)]
        turns = [len(graph.ancestors(name) & set(names)) for name in names]
        together = [turns.count(turn) for turn in set(turns)]
        assert len(together) == 3
        assert max(together) < count / 2


def _counted(spec: RoleSpec, count: int) -> RoleSpec:
    return replace(spec, count=count) if spec.role is Role.CONTROLLER else spec


def test_every_stage_has_at_most_one_gate(topology: Topology) -> None:
    gates = [step.name for step in plan(topology).steps if step.is_gate]
    assert len(gates) == len(set(gates))
    assert all(name.endswith(".ready") for name in gates)


def test_the_same_action_on_two_nodes_is_not_ordered_without_need(topology: Topology) -> None:
    graph = plan(topology)
    for step in graph.steps:
        twins = {
            s.name for s in graph.steps if (s.stage, s.action) == (step.stage, step.action) and s.node != step.node
        }
        # a gate comes last; the first member of a database without Pacemaker makes the cluster that the others join
        if not step.is_gate and (step.stage, step.action) != ("galera", "start"):
            assert not twins & graph.ancestors(step.name), step.name


def test_a_cib_is_pushed_when_all_it_starts_is_there(topology: Topology) -> None:
    graph = plan(topology)
    for cluster in topology.clusters:
        before = graph.ancestors(f"pacemaker.push@{cluster.members[0].name}")
        for node in cluster.members:
            assert f"corosync.start@{node.name}" in before
            for service in set(node.services) & topology.stack.cluster.manages:
                assert f"{service}.configure@{node.name}" in before
        for node in cluster.remotes:
            assert f"remote.configure@{node.name}" in before


def test_what_pacemaker_manages_is_waited_for_after_the_push(topology: Topology) -> None:
    graph = plan(topology)
    for service in topology.stack.cluster.manages:
        if topology.running(service):
            assert "pacemaker.ready" in graph.ancestors(f"{service}.ready")


def test_no_step_starts_what_pacemaker_manages(topology: Topology) -> None:
    started = {step.stage for step in plan(topology).steps if step.action == "start"}
    assert not started & {str(service) for service in topology.stack.cluster.manages}


def test_an_api_asks_its_database_and_keystone_comes_before_its_users(topology: Topology) -> None:
    graph = plan(topology)
    for service in (Service.KEYSTONE, Service.GLANCE, Service.PLACEMENT):
        assert {"database.ready", "haproxy.ready"} <= graph.ancestors(f"{service}.ready")
    for service in (Service.GLANCE, Service.PLACEMENT):
        assert "keystone.ready" in graph.ancestors(f"{service}.ready")
    assert "nfs.ready" in graph.ancestors("glance.ready")


def test_every_action_is_in_its_recipe(topology: Topology) -> None:
    for step in plan(topology).steps:
        assert step.action in step.recipe.actions(), step.name
        if step.members:
            assert not step.members & {step.node}, step.name


def test_every_secret_a_script_names_is_among_its_nodes(topology: Topology) -> None:
    graph = plan(topology)
    held: dict[str, set[str]] = {}
    for step in graph.steps:
        held.setdefault(step.node, set()).update(step.secrets)
    for step in graph.steps:
        for file in step.files:
            for part in file.content.split("@{")[1:]:
                assert part.partition("}")[0] in held[step.node], f"{step.name}: {file.path}"


def test_only_stacks_with_a_cluster_have_cluster_steps(topology: Topology) -> None:
    stages = {step.stage for step in plan(topology).steps}
    assert ({"corosync", "pacemaker"} <= stages) is bool(topology.clusters)
    assert ("remote" in stages) is any(node.membership is Membership.REMOTE for node in topology.nodes)


def test_a_large_cloud_has_no_longer_chain_than_a_small_one() -> None:
    small, big = plan(derive(load(PROJECT, "collapsed"))), plan(large())
    assert len(big.waves()) == len(small.waves())
    assert len([s for s in big.steps if s.stage == "machine"]) == 2 * (15 + 100 + 1 + 1)


def test_another_compute_changes_no_step_of_another_node_but_those_that_name_it() -> None:
    stack = load(PROJECT, "collapsed")
    more = replace(stack, roles=tuple(replace(s, count=2) if s.role is Role.COMPUTE else s for s in stack.roles))
    before, after = plan(derive(stack)), plan(derive(more))
    changed = {
        step.name
        for step in before.steps
        if step.script() != after.by_name[step.name].script() and step.stage != "machine"
    }
    assert changed == {"pacemaker.push@controller-1", "gateway.configure@gateway-1", "remote.joined@controller-1"}


@pytest.mark.parametrize("name", ["steps", "topology"])
def test_pictures_are_the_same_for_the_same_stack_and_name_every_part(name: str, topology: Topology) -> None:
    def draw() -> str:
        fresh = derive(topology.stack)
        return dot.topology(fresh) if name == "topology" else dot.steps(plan(fresh))

    text = draw()
    assert text == draw()
    parts = [step.name for step in plan(topology).steps] if name == "steps" else [node.name for node in topology.nodes]
    assert all(f'"{part}"' in text for part in parts)
