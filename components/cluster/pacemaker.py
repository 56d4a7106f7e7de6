"""Pacemaker: the cluster formed, its whole configuration pushed as one document."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.cluster import cib, corosync, remote
from components.parts import Resource
from components.recipe import File, Recipe
from components.steps import Step, on
from components.topology import Topology

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
#: Where the document lies on the node that pushes it.
CIB_FILE = "/etc/halab/cib.xml"
_MERGE = Path(__file__).parent / "files" / "cib_merge.py"


def steps(topology: Topology, managed: Iterable[Resource]) -> tuple[Step, ...]:
    """Per cluster `pacemaker.push@N` on its first member, and the gate when all are pushed."""
    resources = tuple(managed)
    pushes: list[Step] = []
    for cluster in topology.clusters:
        first = cluster.members[0].name
        configured = {
            f"{resource.service}.configure@{node.name}"
            for resource in resources
            for node in cluster.members
            if resource.service in node.services
        }
        # Whatever is not there when Pacemaker looks for it is a failed action, and on a remote node perhaps a fencing.
        waits = configured | {on(remote.RECIPE, "configure", node.name) for node in cluster.remotes}
        waits |= {on(corosync.RECIPE, "start", node.name) for node in cluster.members}
        pushes.append(
            Step(
                name=on(RECIPE, "push", first),
                node=first,
                recipe=RECIPE,
                action="push",
                env={"CIB_FILE": CIB_FILE, "MEMBERS": " ".join(node.name for node in cluster.members)},
                files=(
                    File(CIB_FILE, cib.document(topology, cluster, resources), "root", "haclient", 0o640),
                    File("/usr/local/lib/halab/cib_merge.py", _MERGE.read_text()),
                ),
                after=frozenset(waits),
                timeout=900,
            )
        )
    if not pushes:
        return ()
    ready = Step("pacemaker.ready", pushes[0].node, RECIPE, "ready", after=frozenset(push.name for push in pushes))
    return (*pushes, ready)
