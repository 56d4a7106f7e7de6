"""Random programs and random changes: what must hold for every one of them."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from tests.engine import random_graphs
from tests.engine.harness import Lab, counted


def alive(log: list[str], living: set[str]) -> None:
    """Follows the commands' log: nothing is updated or deleted that is not there, and at most two of a name exist."""
    count = Counter(living)
    for line in log:
        what, name = line.split()
        if what == "create":
            count[name] += 1
            assert count[name] <= 2, f"{name} is there three times"
        else:
            assert count[name] > 0, f"{what} of {name}, which is not there"
            count[name] -= what == "delete"


def in_order(log: list[str], graph: random_graphs.Graph) -> None:
    """What a resource needs is created or updated before it is."""
    at = {line.split()[1]: place for place, line in enumerate(log) if not line.startswith("delete")}
    for item in graph:
        for name in (*item.get("uses", []), *item.get("triggers_from", []), *item.get("depends_on", [])):
            if name in at and item["name"] in at:
                assert at[name] < at[item["name"]], f"{item['name']} came before {name}"


@pytest.mark.parametrize("seed", range(3))
def test_a_random_program_reaches_its_state_and_stays_there(lab: Lab, seed: int) -> None:
    rng = random.Random(seed)
    graph = random_graphs.first(rng, 14)
    living: set[str] = set()
    for _ in range(3):
        lab.write(*graph)
        preview = lab.engine().preview()
        summary = lab.up()
        assert summary.ok, summary.failures
        log = lab.log()
        alive(log, living)
        in_order(log, graph)
        assert sorted(lab.names()) == sorted(item["name"] for item in graph)
        # A preview cannot know the outputs of an update, but it knows what comes and goes.
        certain = ("create", "delete")
        assert {s for s in counted(preview) if s[0] in certain} == {s for s in counted(summary) if s[0] in certain}
        again = lab.up()
        assert not again.changed, again.steps
        assert lab.log() == []
        living = {item["name"] for item in graph}
        graph = random_graphs.changed(rng, graph)
    assert lab.engine().destroy().ok
    alive(lab.log(), living)
    assert lab.state()["resources"] == []


@pytest.mark.parametrize("seed", range(2))
def test_a_random_program_recovers_from_random_failures(lab: Lab, seed: int) -> None:
    rng = random.Random(1000 + seed)
    graph = random_graphs.first(rng, 12)
    lab.write(*graph)
    assert lab.up().ok
    names = [item["name"] for item in graph if item.get("kind") != "group"]
    graph = random_graphs.changed(rng, graph)
    lab.write(*graph)
    flags = [f"fail-{what}-{name}" for name in rng.sample(names, 4) for what in ("create", "update", "delete")]
    for flag in flags:
        lab.set(flag)
    first: Any = lab.up()
    assert {failure.urn for failure in first.failures} <= {urn for _, urn, _ in first.steps}
    lab.engine().export()  # loads, so it is whole
    for flag in flags:
        lab.clear(flag)
    summary = lab.up()
    assert summary.ok, summary.failures
    assert not lab.up().changed
    assert sorted(lab.names()) == sorted(item["name"] for item in graph)
    assert lab.engine().destroy().ok
