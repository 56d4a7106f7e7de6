"""What every node is before anything else: booted, reachable, and holding its secrets."""

from __future__ import annotations

from pathlib import Path

from components.recipe import File, Recipe
from components.seed import hosts
from components.steps import Step, on
from components.topology import Topology

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))


def steps(topology: Topology) -> tuple[Step, ...]:
    """`machine.ready@N` and, after it, `machine.secrets@N` for every node.

    /etc/hosts comes with a step: with the seed, every node that joins would rebuild all others.
    """
    found: list[Step] = []
    names = File("/etc/hosts", hosts(topology))
    for node in topology.nodes:
        ready = Step(on(RECIPE, "ready", node.name), node.name, RECIPE, "ready", files=(names,), timeout=900)
        secrets = Step(
            on(RECIPE, "secrets", node.name), node.name, RECIPE, "secrets", after=frozenset({ready.name}), timeout=120
        )
        found += [ready, secrets]
    return tuple(found)
