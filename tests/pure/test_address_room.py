"""What no stack file can bring about: addresses, MACs, VRIDs and names that meet, at any size that the rules allow."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from components.services.gateway import GUESTS
from components.topology import Topology, derive
from components.variant import Membership, Networks, Role, RoleSpec, Service, Stack, Variant
from components.variant.keys import role_keys
from components.variant.values import Whole


def most(role: Role) -> int:
    rule = next(key.rule for key in role_keys(role) if key.name == "count")
    assert isinstance(rule, Whole)
    return rule.high


@pytest.fixture(scope="module")
def full() -> Topology:
    """Every role with as many nodes as its rule allows, every service somewhere, in the smallest network allowed."""
    homes = {Role.GATEWAY: (Service.GATEWAY,), Role.STORAGE: (Service.NFS,)}
    others = tuple(service for service in Service if service not in (Service.GATEWAY, Service.NFS))
    roles = tuple(
        RoleSpec(
            role=role,
            count=most(role),
            memory=1024,
            vcpus=1,
            disk=8,
            services=homes.get(role, others),
            cluster=None,
            membership=Membership.NONE,
        )
        for role in Role
    )
    return derive(Stack("full", Variant.COLLAPSED, roles, networks=Networks(IPv4Network("10.4.0.0/22"))))


def test_every_address_has_one_owner_within_its_network(full: Topology) -> None:
    owners: dict[object, str] = {network.host.ip: "the host" for network in full.networks}
    cidr = {network.key: network.cidr for network in full.networks}
    found = [(nic.ip, f"{node.name} {nic.network}", cidr[nic.network]) for node in full.nodes for nic in node.nics]
    found += [(vip.ip, f"VIP {vip.name}", full.cloud.cidr) for vip in full.vips]
    for ip, owner, network in found:
        assert ip in network, owner
        assert ip not in (network.network_address, network.broadcast_address), owner
        assert ip not in owners, f"{owner} and {owners[ip]}"
        owners[ip] = owner


def test_guests_leases_begin_above_every_node_and_end_within_the_network(full: Topology) -> None:
    first, last = (full.cloud.cidr.network_address + offset for offset in GUESTS)
    assert all(nic.ip < first for node in full.nodes for nic in node.nics if nic.network == "cloud")
    assert all(vip.ip < first for vip in full.vips)
    assert last < full.cloud.cidr.broadcast_address


def test_every_mac_uuid_name_and_vrid_is_its_node_s_or_vip_s_alone(full: Topology) -> None:
    macs = [nic.mac for node in full.nodes for nic in node.nics]
    assert len(set(macs)) == len(macs)
    assert all(len(mac) == 17 and mac.startswith("52:54:") for mac in macs)
    for of in ("uuid", "name", "domain"):
        assert len({getattr(node, of) for node in full.nodes}) == len(full.nodes)
    assert len({vip.vrid for vip in full.vips}) == len(full.vips)


@pytest.mark.parametrize("length", range(1, 31))
def test_names_fit_where_the_longest_stack_name_takes_them(length: int, collapsed: Topology) -> None:
    topology = derive(replace(collapsed.stack, name="a" * length))
    assert all(len(network.bridge) <= 15 for network in topology.networks)
    assert all(1 <= vip.vrid <= 255 for vip in topology.vips)
    for node in topology.nodes:
        assert len(f"{node.name}.{topology.domain}") <= 64, "Linux host names"
    # MariaDB's limit of wsrep_cluster_name.
    assert len(topology.stack.cloud) <= 32
