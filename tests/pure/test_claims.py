"""Where two stacks would meet, and the networks that are free: by rule, and over many random hosts."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from components.topology import Network, Topology, derive
from halab.stacks.claims import EMBEDDED, Claim, Taken, candidates, clashes, meet, moved, taken_by
from halab.stacks.host import parse_routes

SYSTEM = "qemu:///system"
FAR = "qemu+ssh://root@far.example/system"
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


def named(topology: Topology, name: str) -> Topology:
    return derive(replace(topology.stack, name=name))


def test_stacks_of_different_names_do_not_meet(collapsed: Topology) -> None:
    mine, other = (Claim.of(named(collapsed, name), SYSTEM) for name in ("mine", "other"))
    assert clashes(mine, [other]) == []


def test_a_stack_is_no_obstacle_to_itself(collapsed: Topology) -> None:
    mine = Claim.of(collapsed, SYSTEM)
    assert clashes(mine, [mine]) == []


def test_a_fork_meets_its_original_on_one_libvirt_and_not_on_hypervisors_of_their_own(collapsed: Topology) -> None:
    fork = derive(replace(collapsed.stack, name="fork", fork_of="collapsed"))
    assert clashes(Claim.of(fork, EMBEDDED), [Claim.of(collapsed, EMBEDDED)]) == []
    assert clashes(Claim.of(fork, EMBEDDED), [Claim.of(collapsed, SYSTEM)]) == []
    found = clashes(Claim.of(fork, SYSTEM), [Claim.of(collapsed, SYSTEM)])
    assert found[0] == f"cloud: 'collapsed': stack collapsed has that name on {SYSTEM}"
    assert [line.partition(":")[0] for line in found[1:]] == ["networks.cloud", "networks.outer"]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (SYSTEM, SYSTEM, True),
        (SYSTEM, "qemu+unix:///system?socket=/run/other", True),
        (FAR, FAR, True),
        (SYSTEM, FAR, False),
        (EMBEDDED, SYSTEM, False),
        (EMBEDDED, EMBEDDED, False),
    ],
)
def test_who_shares_a_network_with_whom(one: str, other: str, expected: bool) -> None:
    assert meet(one, other) is meet(other, one) is expected


def test_a_clash_is_told_by_key_value_and_holder(collapsed: Topology) -> None:
    cloud = collapsed.cloud
    wide = Taken(cloud.cidr.supernet(new_prefix=10), "the route to somewhere (wg0)", "wg0")
    same = Taken(IPv4Network("192.0.2.0/24"), "192.0.2.0/24 of libvirt's network lab", collapsed.outer.bridge)
    assert clashes(Claim.of(collapsed, SYSTEM), [], [wide, same]) == [
        f"networks.cloud: '{cloud.cidr}': overlaps the route to somewhere (wg0)",
        f"networks.outer: '{collapsed.outer.cidr}': its bridge {collapsed.outer.bridge} is that of "
        "192.0.2.0/24 of libvirt's network lab",
    ]


def test_networks_that_are_free_stay(collapsed: Topology) -> None:
    assert moved(collapsed.networks, [Taken(IPv4Network("192.0.2.0/24"), "x")]) == {}


def test_networks_that_meet_move_to_free_ones_of_their_size_whatever_the_host_has(collapsed: Topology) -> None:
    rng = random.Random(4)
    for _ in range(100):
        space = rng.choice(PRIVATE)
        taken = [
            Taken(_within(rng, rng.choice(PRIVATE), rng.randint(9, 30)), "x") for _ in range(rng.randint(0, 12))
        ] + [Taken(space, "a whole range")] * (rng.random() < 0.3)
        found = moved(collapsed.networks, taken)
        after = tuple(replace(one, cidr=found.get(one.key, one.cidr)) for one in collapsed.networks)
        assert [one.cidr.prefixlen for one in after] == [one.cidr.prefixlen for one in collapsed.networks]
        assert not after[0].cidr.overlaps(after[1].cidr)
        for one, before in zip(after, collapsed.networks, strict=True):
            was_free = _is_free(before.cidr, taken)
            assert (one.key in found) == (not was_free and any(_is_free(c, taken) for c in candidates(before.cidr)))
            assert one.key not in found or _is_free(one.cidr, taken)


def _is_free(network: IPv4Network, taken: list[Taken]) -> bool:
    return not any(network.overlaps(one.cidr) for one in taken)


def _within(rng: random.Random, space: IPv4Network, prefix: int) -> IPv4Network:
    prefix = max(prefix, space.prefixlen)
    step = 2 ** (32 - prefix)
    index = rng.randrange(2 ** (prefix - space.prefixlen))
    return IPv4Network((int(space.network_address) + index * step, prefix))


def test_where_nothing_is_free_nothing_is_offered(collapsed: Topology) -> None:
    assert moved(collapsed.networks, [Taken(space, "x") for space in PRIVATE]) == {}


def test_every_other_private_network_is_tried_once_beginning_with_the_next() -> None:
    first = IPv4Network("10.255.252.0/22")
    found = list(candidates(first))
    assert found[0] == IPv4Network("10.0.0.0/22")
    assert len(found) == len(set(found)) == 2**14 - 1 + 2**10 + 2**6
    assert first not in found


def test_a_stack_takes_its_networks_and_bridges(collapsed: Topology) -> None:
    assert [(one.cidr, one.bridge) for one in taken_by(Claim.of(collapsed, SYSTEM))] == [
        (network.cidr, network.bridge) for network in collapsed.networks
    ]


def test_routes_are_read_and_default_routes_in_two_pieces_are_default_routes() -> None:
    found = parse_routes(
        [
            {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
            {"dst": "0.0.0.0/1", "dev": "tun0"},
            {"dst": "128.0.0.0/1", "dev": "tun0"},
            {"type": "local", "dst": "127.0.0.0/8", "dev": "lo", "table": "local"},
            {"dst": "10.0.0.0/8", "dev": "wg0", "table": "51820"},
            {"type": "blackhole", "dst": "10.9.8.7"},
        ]
    )
    assert [(str(one.cidr), one.by) for one in found] == [
        ("10.0.0.0/8", "the route to 10.0.0.0/8 (wg0)"),
        ("10.9.8.7/32", "the route to 10.9.8.7/32"),
    ]


def test_bridges_fit_the_kernel_s_limit(collapsed: Topology) -> None:
    def bridges(one: Topology) -> list[Network]:
        return [network for network in one.networks if len(network.bridge) > 15]

    assert bridges(named(collapsed, "a" * 30)) == []
