"""Large clouds and the examples of stacks/examples: they hold together, and no chain grows with the nodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from components.cluster import fencing
from components.plan import plan
from components.topology import Topology, derive
from components.variant import CONFIG_KEY, TIERS, Membership, Role, Stack, load, parse
from tests.pure import test_topology as rules

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((PROJECT / "stacks" / "examples").glob("Pulumi.*.yaml"))


def example(name: str) -> Topology:
    path = PROJECT / "stacks" / "examples" / f"Pulumi.{name}.yaml"
    return derive(parse(name, yaml.safe_load(path.read_text())["config"][CONFIG_KEY], str(path)))


def sized(stack: Stack, controllers: int, computes: int) -> Topology:
    """Every role of cluster members with `controllers` nodes, for all tiers grow alike."""
    counts = {
        spec.role: controllers if spec.membership is Membership.FULL else computes if spec.role is Role.COMPUTE else 1
        for spec in stack.roles
    }
    return derive(replace(stack, roles=tuple(replace(spec, count=counts[spec.role]) for spec in stack.roles)))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem.removeprefix("Pulumi."))
def test_every_example_is_a_cloud_with_distinct_names_and_addresses(path: Path) -> None:
    topology = example(path.stem.removeprefix("Pulumi."))
    rules.test_names_addresses_macs_and_uuids_are_unique(topology)
    rules.test_every_address_is_a_host_of_its_network(topology)
    rules.test_macs_are_locally_administered_unicast_and_of_qemus_kind(topology)
    rules.test_every_vip_can_be_held_by_somebody_and_every_proxied_service_has_one(topology)
    fenced = [node.name for cluster in topology.clusters for node in fencing.targets(topology, cluster)]
    assert sorted(fenced) == sorted(node.name for node in topology.nodes)
    assert plan(topology).steps


def test_a_cluster_for_each_service_is_the_references_51_members() -> None:
    topology = example("per-service")
    assert [len(cluster.members) for cluster in topology.clusters] == [3] * 17
    assert {node.role for cluster in topology.clusters for node in cluster.members} >= set(TIERS)
    (control,) = (cluster for cluster in topology.clusters if cluster.remotes)
    assert [node.role for node in control.remotes] == [Role.COMPUTE]


def test_database_and_messaging_share_a_cluster_and_all_else_is_collapsed() -> None:
    topology = example("data-tier")
    members = {
        cluster.name: {service for node in cluster.members for service in node.services}
        for cluster in topology.clusters
    }
    assert members["data"] == {"galera", "rabbitmq"}
    assert members["core"] == {"memcached", "haproxy", "keystone", "glance", "placement"}
    assert set(topology.vips[0].nodes) == {"controller-1", "controller-2", "controller-3"}


@pytest.mark.parametrize("name", ["collapsed", "segregated", "cloned", "keepalived"])
def test_the_critical_path_is_as_long_whatever_the_number_of_nodes(name: str) -> None:
    stack = load(PROJECT, name)
    lengths = {
        (controllers, computes): len(plan(sized(stack, controllers, computes)).critical_path())
        for controllers in (3, 7, 15)
        for computes in (1, 10, 100)
    }
    assert len(set(lengths.values())) == 1, lengths


def test_a_deeper_stack_of_services_makes_the_critical_path_longer() -> None:
    stack = load(PROJECT, "collapsed")
    above = {"glance", "placement", "nfs"}
    roles = (replace(spec, services=tuple(s for s in spec.services if s not in above)) for spec in stack.roles)
    flat, deep = plan(derive(replace(stack, roles=tuple(roles)))), plan(derive(stack))
    assert len(flat.critical_path()) < len(deep.critical_path())


def test_no_step_of_a_node_waits_for_a_step_of_each_other_node_in_turn() -> None:
    """Edges grow with the nodes, not with their square: a gate stands between all and all."""

    stack = load(PROJECT, "collapsed")
    few, many = sized(stack, 3, 10), sized(stack, 15, 100)
    edges = [sum(len(step.after) for step in plan(topology).steps) for topology in (few, many)]
    assert edges[1] / edges[0] < 1.2 * len(many.nodes) / len(few.nodes), edges
