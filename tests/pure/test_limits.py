"""What an architecture cannot do by its design, from its topology and told everywhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from components.topology import Topology, derive
from components.variant import load
from halab.limits import limits
from halab.verify.questions import QUESTIONS, design

PROJECT = Path(__file__).resolve().parents[2]


def stack(name: str) -> Topology:
    return derive(load(PROJECT, name))


@pytest.mark.parametrize("name", ["collapsed", "segregated"])
def test_what_pacemaker_manages_but_the_apis_has_no_limits(name: str) -> None:
    assert limits(stack(name)) == ()


def test_without_pacemaker_partition_full_restart_monitoring_and_computes_are_named() -> None:
    found = {one.name: one for one in limits(stack("keepalived"))}
    assert list(found) == ["VRRP partition", "full restart", "monitoring", "cinder-volume", "computes"]
    assert "./halab recover --stack keepalived" in found["full restart"].text


def test_two_controllers_are_told_what_their_third_votes_cannot_do() -> None:
    votes = [one for one in limits(stack("endpoint")) if "third vote" in one.name]
    assert [one.name for one in votes] == ["galera's third vote", "rabbitmq's third vote"]
    assert all("endpoint-1" in one.text for one in votes)


def test_clones_in_order_and_caches_of_their_own_have_their_price() -> None:
    assert [one.name for one in limits(stack("cloned"))] == ["clones in order", "revoked tokens"]


@pytest.mark.parametrize(
    ("name", "docs"), [("keepalived", "keepalived"), ("endpoint", "endpoint"), ("cloned", "cloned")]
)
def test_verify_tells_each_with_its_seed_and_docs_name_the_section(name: str, docs: str) -> None:
    class Asked:
        topology = stack(name)

    found = asyncio.run(design.design(Asked()))  # type: ignore[arg-type]
    page = (PROJECT / "docs" / f"{docs}.md").read_text()
    assert [one.by_design for one in found] == [one.source for one in limits(Asked.topology)]
    assert all(one.section in page for one in limits(Asked.topology))
    assert design.design in QUESTIONS
