"""What follows from a stack file: unique, in range, and unmoved by nodes that come and go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from components.topology import Topology, derive
from components.variant import Role, Stack, load

PROJECT = Path(__file__).resolve().parents[2]


def with_count(stack: Stack, role: Role, count: int) -> Stack:
    return replace(stack, roles=tuple(replace(s, count=count) if s.role is role else s for s in stack.roles))


def identity(topology: Topology) -> dict[str, tuple[object, ...]]:
    return {node.name: (node.domain, node.uuid, node.nics, node.services) for node in topology.nodes}


def test_names_addresses_macs_and_uuids_are_unique(topology: Topology) -> None:
    nics = [nic for node in topology.nodes for nic in node.nics]
    for values in (
        [node.name for node in topology.nodes],
        [node.domain for node in topology.nodes],
        [node.uuid for node in topology.nodes],
        [nic.mac for nic in nics],
        [nic.ip for nic in nics] + [vip.ip for vip in topology.vips] + [net.host.ip for net in topology.networks],
        [vip.vrid for vip in topology.vips],
        [network.bridge for network in topology.networks],
    ):
        assert len(values) == len(set(values)), values


def test_every_address_is_a_host_of_its_network(topology: Topology) -> None:
    networks = {network.key: network.cidr for network in topology.networks}
    for node in topology.nodes:
        for nic in node.nics:
            cidr = networks[nic.network]
            assert nic.ip in cidr, node.name
            assert nic.ip not in (cidr.network_address, cidr.broadcast_address), node.name
            assert nic.address.network == cidr, node.name
    for vip in topology.vips:
        assert vip.ip in topology.cloud.cidr


def test_macs_are_locally_administered_unicast_and_of_qemus_kind(topology: Topology) -> None:
    for node in topology.nodes:
        for nic in node.nics:
            first = int(nic.mac[:2], 16)
            assert first & 0b11 == 0b10, nic.mac
            assert len(bytes.fromhex(nic.mac.replace(":", ""))) == 6


def test_uuids_are_random_uuids_to_whoever_reads_them(topology: Topology) -> None:
    assert {UUID(node.uuid).version for node in topology.nodes} == {4}


def test_names_fit_where_the_kernel_and_dns_limit_them(topology: Topology) -> None:
    assert all(len(network.bridge) <= 15 for network in topology.networks)
    assert all(len(node.name) <= 63 for node in topology.nodes)
    assert all(1 <= vip.vrid <= 255 for vip in topology.vips)


def test_the_largest_stack_has_no_collisions() -> None:
    stack = load(PROJECT, "collapsed")
    for role, count in ((Role.CONTROLLER, 15), (Role.COMPUTE, 488), (Role.STORAGE, 16), (Role.GATEWAY, 16)):
        stack = with_count(stack, role, count)
    test_names_addresses_macs_and_uuids_are_unique(derive(stack))
    test_every_address_is_a_host_of_its_network(derive(stack))


@pytest.mark.parametrize("role", [Role.CONTROLLER, Role.COMPUTE, Role.STORAGE, Role.GATEWAY])
def test_adding_nodes_changes_no_other_node(collapsed: Topology, role: Role) -> None:
    grown = identity(derive(with_count(collapsed.stack, role, len(collapsed.role(role)) + 2)))
    small = identity(collapsed)
    assert {name: grown[name] for name in small} == small
    assert len(grown) == len(small) + 2


def test_another_order_of_roles_in_the_file_changes_nothing(collapsed: Topology) -> None:
    turned = derive(replace(collapsed.stack, roles=tuple(reversed(collapsed.stack.roles))))
    assert identity(turned) == identity(collapsed)
    assert turned.vips == collapsed.vips


def test_two_stacks_of_one_description_share_nothing_that_could_clash(collapsed: Topology) -> None:
    other = derive(replace(collapsed.stack, name="other"))

    def everything(topology: Topology) -> set[str]:
        names = {network.name for network in topology.networks} | {network.bridge for network in topology.networks}
        macs = {nic.mac for node in topology.nodes for nic in node.nics}
        return names | macs | {node.domain for node in topology.nodes} | {node.uuid for node in topology.nodes}

    assert not everything(collapsed) & everything(other)


def test_a_given_network_is_used(collapsed: Topology) -> None:
    from ipaddress import IPv4Network

    cidr = IPv4Network("10.250.0.0/22")
    topology = derive(replace(collapsed.stack, networks=replace(collapsed.stack.networks, cloud=cidr)))
    assert all(node.ip in cidr for node in topology.nodes)
    assert topology.cloud.host.ip == cidr[1]


def test_only_gateways_have_a_foot_outside(topology: Topology) -> None:
    for node in topology.nodes:
        outside = [nic for nic in node.nics if nic.network == "outer"]
        assert bool(outside) == (node.role is Role.GATEWAY), node.name


def test_members_and_remotes_are_those_of_the_file(collapsed: Topology) -> None:
    (cluster,) = collapsed.clusters
    assert [node.name for node in cluster.members] == ["controller-1", "controller-2", "controller-3"]
    assert [node.name for node in cluster.remotes] == ["compute-1"]


def test_every_vip_can_be_held_by_somebody_and_every_proxied_service_has_one(topology: Topology) -> None:
    names = {node.name for node in topology.nodes}
    for vip in topology.vips:
        assert vip.nodes
        assert set(vip.nodes) <= names
        assert vip.prefers is None or vip.prefers in vip.nodes
        for service in vip.services:
            assert topology.vip(service) == vip
            assert topology.endpoint_host(service) == f"{vip.name}.{topology.stack.name}.halab"


def test_a_service_without_a_vip_is_a_key_error(collapsed: Topology) -> None:
    from components.variant import Service

    with pytest.raises(KeyError):
        collapsed.vip(Service.RABBITMQ)


def test_a_third_vote_is_one_node_s_and_counts_for_its_service_alone() -> None:
    from components.variant import Service

    topology = derive(load(PROJECT, "endpoint"))
    names = ["controller-1", "controller-2", "endpoint-1"]
    for service in (Service.GALERA, Service.RABBITMQ):
        assert [node.name for node in topology.voters(service)] == names
        assert [node.name for node in topology.running(service)] == names[:2]
    assert [node.name for node in topology.voters(Service.HAPROXY)] == ["endpoint-1", "endpoint-2"]


def test_the_image_of_a_node_has_what_it_runs(topology: Topology) -> None:
    from components.variant.model import CARRIES

    for node in topology.nodes:
        assert CARRIES[node.image].issuperset(node.services), node.name


def test_computes_boot_the_controllers_image_only_where_they_run_what_it_has() -> None:
    images = {
        name: {n.image for n in derive(load(PROJECT, name)).role(Role.COMPUTE)} for name in ("endpoint", "cloned")
    }
    assert images == {"endpoint": {"controller"}, "cloned": {"compute"}}
