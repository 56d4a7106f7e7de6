"""The gateway lets in exactly what the services' listeners say, and forwards nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from components.services import gateway, haproxy
from components.topology import Topology, derive
from components.variant import Service, Variant, load

PROJECT = Path(__file__).resolve().parents[2]
STACKS = sorted(Variant)


@pytest.fixture(params=STACKS)
def topology(request: pytest.FixtureRequest) -> Topology:
    return derive(load(PROJECT, request.param))


def test_the_open_ports_are_those_of_the_listeners_that_speak_tls(topology: Topology) -> None:
    wanted = sorted(listener.port for listener in haproxy.listeners(topology) if listener.tls)
    assert list(gateway.ports(topology)) == wanted
    for node in topology.running(Service.GATEWAY):
        rules = gateway.ruleset(topology, node)
        found = re.findall(r"ip daddr (\S+) tcp dport (\d+) dnat to (\S+):(\d+)", rules)
        assert sorted(int(port) for _, port, _, _ in found) == wanted
        assert {outer for outer, *_ in found} == {str(node.nics[1].ip)}
        for _, port, vip, to in found:
            listener = next(one for one in haproxy.listeners(topology) if one.port == int(port))
            assert (vip, to) == (str(topology.vip(listener.service).ip), port)


def test_the_database_is_not_reachable_from_outside(topology: Topology) -> None:
    assert 3306 not in gateway.ports(topology)


def test_what_is_not_translated_is_dropped_in_both_chains(topology: Topology) -> None:
    rules = gateway.ruleset(topology, topology.running(Service.GATEWAY)[0])
    for hook in ("input", "forward"):
        assert f"hook {hook} priority filter; policy drop;" in rules
    forward = rules.partition("chain forward {")[2].partition("}")[0]
    accepted = [line.strip() for line in forward.splitlines() if "accept" in line]
    assert accepted == ["ct state established,related accept", "iifname $OUTER oifname $CLOUD ct status dnat accept"]
    outer = [line for line in rules.partition("chain input {")[2].partition("}")[0].splitlines() if "OUTER" in line]
    assert outer == []


def test_every_node_and_vip_has_a_name_and_every_node_its_lease(topology: Topology) -> None:
    text = gateway.dnsmasq(topology, topology.running(Service.GATEWAY)[0])
    for node in topology.nodes:
        assert f"host-record={node.name}.{topology.domain},{node.name},{node.ip}\n" in text
        assert f"dhcp-host={node.nics[0].mac},{node.ip},{node.name},infinite\n" in text
    for vip in topology.vips:
        assert f"host-record={vip.name}.{topology.domain},{vip.ip}\n" in text


def test_addresses_for_strangers_belong_to_no_node_or_vip(topology: Topology) -> None:
    first, last = (topology.cloud.cidr.network_address + offset for offset in gateway.GUESTS)
    taken = [node.ip for node in topology.nodes] + [vip.ip for vip in topology.vips]
    assert first in topology.cloud.cidr
    assert last in topology.cloud.cidr
    assert not [address for address in taken if first <= address <= last]
