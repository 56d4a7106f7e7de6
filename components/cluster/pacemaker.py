"""Pacemaker: the cluster formed, its whole configuration pushed as one document."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from components.cluster import cib, corosync, remote
from components.parts import Resource
from components.recipe import File, Recipe
from components.steps import Step, on
from components.topology import Cluster, Topology

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
#: Where the document lies on the node that pushes it.
CIB_FILE = "/etc/halab/cib.xml"
_MERGE = Path(__file__).parent / "files" / "cib_merge.py"


def steps(topology: Topology, managed: Iterable[Resource]) -> tuple[Step, ...]:
    """Per cluster `pacemaker.push@N` on its first member, checked on the second; the gate when all are pushed.

    A member or remote node that is rebuilt must not be fenced meanwhile: the push, or for the first member the check,
    names it, and is undone by a pause of fencing that the next push ends. `pacemaker.admit@N` names the member before
    N: that one leaves in standby, so that nothing starts on it again before it is configured.
    """
    resources = tuple(managed)
    pushes = [_push(topology, cluster, resources) for cluster in topology.clusters]
    checks = [
        Step(
            name="pacemaker.ready" if index == 0 else on(RECIPE, "checked", cluster.members[1].name),
            node=cluster.members[1].name,
            recipe=RECIPE,
            action="checked",
            after=frozenset({push.name}),
            members=frozenset({cluster.members[0].name}),
        )
        for index, (cluster, push) in enumerate(zip(topology.clusters, pushes, strict=True))
    ]
    if checks:
        before = {step.name for step in (*pushes, *checks[1:])}
        checks[0] = replace(checks[0], after=frozenset(before))
    admissions = (
        step for cluster, push in zip(topology.clusters, pushes, strict=True) for step in _admissions(cluster, push)
    )
    return (*pushes, *checks, *admissions)


def _admissions(cluster: Cluster, push: Step) -> Iterable[Step]:
    for member, witness in zip(cluster.members, (*cluster.members[1:], cluster.members[0]), strict=True):
        yield Step(
            name=on(RECIPE, "admit", witness.name),
            node=witness.name,
            recipe=RECIPE,
            action="admit",
            env={"MEMBER": member.name},
            after=frozenset({push.name}),
            members=frozenset({member.name}),
        )


def _push(topology: Topology, cluster: Cluster, resources: tuple[Resource, ...]) -> Step:
    first, *others = cluster.members
    configured = {
        f"{resource.service}.configure@{node.name}"
        for resource in resources
        for node in cluster.members
        if resource.service in node.services
    }
    # Whatever is not there when Pacemaker looks for it is a failed action, and on a remote node perhaps a fencing.
    waits = configured | {on(remote.RECIPE, "configure", node.name) for node in cluster.remotes}
    waits |= {on(corosync.RECIPE, "start", node.name) for node in cluster.members}
    return Step(
        name=on(RECIPE, "push", first.name),
        node=first.name,
        recipe=RECIPE,
        action="push",
        env={
            "CIB_FILE": CIB_FILE,
            "MEMBERS": " ".join(node.name for node in cluster.members),
            "REMOTES": " ".join(node.name for node in cluster.remotes),
        },
        files=(
            File(CIB_FILE, cib.document(topology, cluster, resources), "root", "haclient", 0o640),
            File("/usr/local/lib/halab/cib_merge.py", _MERGE.read_text()),
        ),
        after=frozenset(waits),
        members=frozenset(node.name for node in (*others, *cluster.remotes)),
        timeout=900,
    )
