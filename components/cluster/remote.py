"""pacemaker_remote: nodes that Pacemaker drives without their being members (Pacemaker Remote, "baremetal nodes")."""

from __future__ import annotations

from pathlib import Path

from components.cluster.corosync import PACEMAKER_AUTHKEY
from components.recipe import Recipe
from components.steps import Step, on
from components.topology import Topology

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))


def steps(topology: Topology) -> tuple[Step, ...]:
    """`remote.configure@N` on every remote node, and the gate: each cluster's first member sees its remotes online."""
    found: list[Step] = []
    watched: list[Step] = []
    for cluster in topology.clusters:
        for node in cluster.remotes:
            found.append(
                Step(
                    name=on(RECIPE, "configure", node.name),
                    node=node.name,
                    recipe=RECIPE,
                    action="configure",
                    secrets=frozenset({PACEMAKER_AUTHKEY}),
                    after=frozenset({f"machine.secrets@{node.name}"}),
                )
            )
        if cluster.remotes:
            watched.append(
                Step(
                    name=on(RECIPE, "joined", cluster.members[0].name),
                    node=cluster.members[0].name,
                    recipe=RECIPE,
                    action="joined",
                    env={"REMOTES": " ".join(node.name for node in cluster.remotes)},
                    after=frozenset({"pacemaker.ready", *(on(RECIPE, "configure", n.name) for n in cluster.remotes)}),
                    members=frozenset(node.name for node in cluster.remotes),
                    timeout=900,
                )
            )
    return (*found, *watched)
