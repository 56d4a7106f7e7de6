"""What a change touches, in words: which members, votes and VIPs, and whether a quorum holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.topology import Topology, derive
from components.variant import load, parse
from halab.impact import Change, change, lonely, quorum, short_of_votes, too_many, words

ROOT = Path(__file__).parents[2]
URN = "urn:pulumi:collapsed::halab::halab:lab:Lab$"
DOMAIN = URN + "halab:libvirt:Machine$libvirt:index/domain:Domain::{}-domain"
COMMAND = URN + "halab:command:Bootstrap$halab:command:Stage$command:remote:Command::{}"


def stack(name: str) -> Topology:
    return derive(load(ROOT, name))


@pytest.fixture
def collapsed() -> Topology:
    return stack("collapsed")


def test_a_summary_is_read_as_vms_that_come_go_and_are_rebuilt_and_steps_on_those_that_stay() -> None:
    steps: list[tuple[str, str, dict[str, object]]] = [
        ("create", DOMAIN.format("compute-2"), {}),
        ("delete", DOMAIN.format("compute-3"), {}),
        ("replace", DOMAIN.format("controller-1"), {}),
        ("create-replacement", DOMAIN.format("controller-1"), {}),
        ("same", DOMAIN.format("controller-2"), {}),
        ("replace", COMMAND.format("galera.configure@controller-1"), {}),
        ("update", COMMAND.format("galera.configure@controller-2"), {}),
        ("replace", COMMAND.format("galera.ready"), {}),
        ("same", COMMAND.format("galera.configure@controller-3"), {}),
    ]
    found = change(steps)
    assert found == Change(
        ("compute-2",), ("compute-3",), ("controller-1",), ("galera.configure@controller-2", "galera.ready")
    )
    assert not change([("same", DOMAIN.format("controller-2"), {})])


def test_one_controller_of_three_goes_and_quorum_holds(collapsed: Topology) -> None:
    owners = {vip.name: "controller-2" for vip in collapsed.vips}
    assert words(collapsed, Change(rebuilt=("controller-2",)), owners) == [
        "Pacemaker cluster core: controller-2 leaves and joins again; 2 of 3 votes stay: quorum (2) holds",
        "galera: controller-2 leaves and joins again; 2 of 3 votes stay: quorum (2) holds",
        "rabbitmq: controller-2 leaves and joins again; 2 of 3 votes stay: quorum (2) holds",
        "VIPs galera, keystone, glance and placement: move to controller-1 or controller-3",
    ]


def test_a_node_that_holds_no_vip_moves_none(collapsed: Topology) -> None:
    owners = {vip.name: "controller-1" for vip in collapsed.vips}
    assert not [line for line in words(collapsed, Change(rebuilt=("controller-2",)), owners) if "VIP" in line]
    without = words(collapsed, Change(rebuilt=("controller-2",)))
    assert without[-1].startswith(
        "VIPs galera, keystone, glance and placement: move, where held by a node that goes, to"
    )


def test_all_members_at_once_lose_what_they_hold(collapsed: Topology) -> None:
    found = words(collapsed, Change(rebuilt=("controller-1", "controller-2", "controller-3")))
    assert "galera: controller-1, controller-2 and controller-3 leave and join again; all of it goes, " in found[1]
    assert found[-1].endswith("nowhere: no node is left to hold them")


def test_two_of_three_at_once_lose_the_quorum(collapsed: Topology) -> None:
    found = words(collapsed, Change(rebuilt=("controller-1", "controller-2")))
    assert "only 1 of 3 votes stay: quorum (2) is lost meanwhile" in found[0]


def test_from_three_to_five_controllers_the_quorum_grows() -> None:
    raw = {
        "variant": "collapsed",
        "roles": {
            "controller": {
                "count": 5,
                "cluster": "core",
                "membership": "full",
                "services": ["galera", "rabbitmq", "memcached", "haproxy", "keystone", "glance", "placement"],
            },
            "storage": {"services": ["nfs"]},
        },
        "cluster": {"manages": ["galera", "rabbitmq", "memcached", "haproxy"]},
    }
    five = derive(parse("five", raw))
    added = Change(added=("controller-4", "controller-5"))
    assert words(five, added)[:2] == [
        "Pacemaker cluster core: controller-4 and controller-5 join; 3 → 5 votes, quorum 2 → 3",
        "galera: controller-4 and controller-5 join; 3 → 5 votes, quorum 2 → 3",
    ]


def test_fewer_members_are_a_smaller_quorum(collapsed: Topology) -> None:
    found = words(collapsed, Change(removed=("controller-4", "controller-5")))
    assert found[0] == "Pacemaker cluster core: controller-4 and controller-5 leave; 5 → 3 votes, quorum 3 → 2"


def test_a_compute_comes_and_goes_without_a_vote(collapsed: Topology) -> None:
    assert words(collapsed, Change(added=("compute-1",))) == [
        "Pacemaker cluster core: compute-1 joins as remote; no vote changes"
    ]
    assert words(collapsed, Change(removed=("compute-2",))) == [
        "Pacemaker cluster core: compute-2 leaves as remote; no vote changes"
    ]


def test_the_only_node_of_a_service_is_missed(collapsed: Topology) -> None:
    assert words(collapsed, Change(rebuilt=("storage-1",))) == [
        "nfs: storage-1 is the only one that runs it: it is away meanwhile, and the images of glance are deleted"
    ]
    assert lonely(collapsed, "storage-1") == "storage-1 alone holds the images of glance (nfs)"
    assert lonely(collapsed, "controller-1") == ""


def test_steps_that_run_again_are_told_by_service_with_its_vip(collapsed: Topology) -> None:
    again = ("keystone.configure@controller-1", "keystone.start@controller-1", "keystone.configure@controller-2")
    assert words(collapsed, Change(again=again)) == [
        "keystone: configure, start again on controller-1 and controller-2 (VIP keystone)"
    ]


def test_a_stack_that_is_made_anew_touches_nothing(collapsed: Topology) -> None:
    assert words(collapsed, Change(added=tuple(node.name for node in collapsed.nodes))) == []


def test_a_third_vote_counts_for_the_database_alone() -> None:
    endpoint = stack("endpoint")
    found = words(endpoint, Change(rebuilt=("controller-1",)))
    assert found[0] == "galera: controller-1 leaves and joins again; 2 of 3 votes stay: quorum (2) holds"


@pytest.mark.parametrize(("votes", "majority"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (15, 8)])
def test_a_quorum_is_a_majority(votes: int, majority: int) -> None:
    assert quorum(votes) == majority


def test_a_node_cannot_go_where_the_others_would_be_no_majority(collapsed: Topology) -> None:
    everyone = frozenset({"controller-1", "controller-2", "controller-3"})
    well = {"core": everyone, "galera": everyone - {"controller-3"}, "rabbitmq": everyone}
    assert short_of_votes(collapsed, "controller-3", well) == []
    assert short_of_votes(collapsed, "controller-1", well) == [
        "galera: without controller-1 1 of 3 would work (controller-2), and a quorum is 2"
    ]
    assert short_of_votes(collapsed, "compute-1", {}) == []
    assert len(short_of_votes(collapsed, "controller-1", {})) == 3


def test_one_node_of_each_kind_may_go_at_any_time(collapsed: Topology) -> None:
    for node in collapsed.nodes:
        assert too_many(collapsed, Change(rebuilt=(node.name,))) == []
    assert too_many(collapsed, Change(added=tuple(node.name for node in collapsed.nodes))) == []


def test_two_of_three_are_too_many_at_once(collapsed: Topology) -> None:
    found = too_many(collapsed, Change(rebuilt=("controller-1", "controller-3")))
    assert found == [
        f"{group}: controller-1 and controller-3 leave at once; 1 of 3 votes stay, and a quorum is 2"
        for group in ("Pacemaker cluster core", "galera", "rabbitmq")
    ]


def test_a_service_without_votes_keeps_one_of_its_nodes() -> None:
    endpoint = stack("endpoint")
    assert too_many(endpoint, Change(rebuilt=("endpoint-2", "compute-1"))) == []
    (line,) = too_many(endpoint, Change(rebuilt=("endpoint-1", "endpoint-2")))
    assert line == "haproxy and keepalived: endpoint-1 and endpoint-2 leave at once; nobody is left"
    (line,) = too_many(endpoint, Change(rebuilt=("compute-1", "compute-2")))
    assert line.startswith("keystone, glance and placement: compute-1 and compute-2 leave")


def test_more_may_leave_for_good_only_while_a_quorum_of_before_stays(collapsed: Topology) -> None:
    assert too_many(collapsed, Change(removed=("controller-4", "controller-5"))) == []
    four = tuple(f"controller-{number}" for number in range(4, 8))
    assert too_many(collapsed, Change(removed=four))[0].endswith("3 of 7 votes stay, and a quorum is 4")
    # one that comes in the same edit has no vote yet to count on
    five = Change(added=("controller-3",), removed=("controller-4",), rebuilt=("controller-1",))
    assert too_many(collapsed, five)[0].endswith("1 of 3 votes stay, and a quorum is 2")


def test_a_third_vote_counts_when_nodes_go_at_once() -> None:
    assert too_many(stack("endpoint"), Change(rebuilt=("controller-1",))) == []
    assert too_many(stack("endpoint"), Change(rebuilt=("controller-1", "endpoint-1")))
