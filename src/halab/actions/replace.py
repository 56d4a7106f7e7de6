"""Replace one node by a new VM of the same name, while the cloud works on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import typer
from rich.text import Text

from components.topology import TIE_BREAKERS, Node, Topology
from components.variant import Service
from halab import engines, impact
from halab.actions import cloud, preview, ssh, up
from halab.actions import status as status_action
from halab.display import diff, text
from halab.errors import DONE, FAILED, RefusedError
from halab.labels import label
from halab.status import Report
from halab.workspace import Workspace


def each(workspace: Workspace, names: Sequence[str], *, verify: bool, yes: bool, as_json: bool, engine: str) -> int:
    """Several nodes, one after the other, each only when the one before is in sync; the first that fails is the last.

    Raises RefusedError before anything is done where a name is none.
    """
    for name in names:
        ssh.node(workspace, name)
    if not yes:
        _agreed(", ".join(names))
    options = ["--yes", "--stack", workspace.stack, "--engine", engine, *([] if verify else ["--no-verify"])]
    for done, name in enumerate(names):
        # A command of its own, since one that has entered a stack's network does not leave it again.
        command = [str(workspace.project / "halab"), "replace", name, *options, *(["--json"] if as_json else [])]
        code = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
        if code:
            left = " ".join(names[done:])
            again = f"./halab replace {left} --stack {workspace.stack}"
            text.console(error=True).print(f"not replaced: {left}; to go on: {again}")
            return code
    return DONE


def run(workspace: Workspace, name: str, *, engine: engines.Asked, yes: bool, verify: bool, as_json: bool) -> int:
    """Raises RefusedError before anything is done where the cloud could not bear it."""
    node = ssh.node(workspace, name)
    console = text.console(error=as_json)
    cloud.keys(workspace)
    report = status_action.look(workspace)
    if problems := refusals(workspace, node, report):
        raise RefusedError("\n".join(f"replace {node.name}: {problem}" for problem in problems))
    replaced, targets = (f"{node.name}-root",), scope(workspace, node)
    planned = preview.changes(workspace, console, targets, replaced)
    if not planned.ok:
        for failure in planned.failures:
            console.print(Text.assemble((f"failed: {label(failure.urn)}", "bold red"), f": {failure.error.strip()}"))
        return FAILED
    owners = {vip.name: vip.owner for vip in report.vips}
    counts = diff.counts(planned.steps)
    console.print(
        f"{node.name}: a new VM with an empty disk; {counts['replace']} to replace, {counts['same']} unchanged"
    )
    for line in impact.words(workspace.topology, impact.change(planned.steps), owners):
        console.print(f"  {line}")
    if not yes:
        _agreed(node.name)
    return up.run(
        workspace,
        up.UpOptions(
            engine=engine,
            verify=verify,
            fence_proof=False,
            doctor=False,
            golden=False,
            json=as_json,
            replace=replaced,
            only=targets,
        ),
    )


def refusals(workspace: Workspace, node: Node, report: Report) -> list[str]:
    """Why the node cannot go now, a line each."""
    topology = workspace.topology
    found = impact.short_of_votes(topology, node.name, working(topology, report))
    if found:
        found.append("mend the others first: ./halab status")
    if alone := impact.lonely(topology, node.name):
        found.append(f"{alone}: a new one begins empty; ./halab down and up make all of it anew")
    return found


def working(topology: Topology, report: Report) -> dict[str, frozenset[str]]:
    """Who has a vote that counts now, by cluster's or service's name. A cluster that lacks a member is not well as a
    whole, while its members may well be."""
    lines = {line.service: line.members for line in report.services}
    online = frozenset(line.name for line in report.nodes if line.cluster == "online")
    found = {cluster.name: online & {one.name for one in cluster.members} for cluster in topology.clusters}
    found[Service.GALERA] = frozenset(one.node for one in lines.get(Service.GALERA, ()) if one.state == "Synced")
    majority = impact.quorum(len(topology.voters(Service.RABBITMQ)))
    found[Service.RABBITMQ] = frozenset(
        one.node for one in lines.get(Service.RABBITMQ, ()) if _peers(one.state) + 1 >= majority
    )
    for vote, service in TIE_BREAKERS.items():
        found[service] |= {one.node for one in lines.get(vote, ()) if one.well}
    return found


def _peers(state: str) -> int:
    """Of "1 of 2 peers"; -1 for one that does not even listen."""
    number, _, rest = state.partition(" of ")
    return int(number) if rest and number.isdigit() else -1


def scope(workspace: Workspace, node: Node) -> tuple[str, ...]:
    """The node's VM, its own steps, and those elsewhere that name it as a member: nothing else changes."""
    steps = (step.name for step in workspace.plan.steps if step.node == node.name or node.name in step.members)
    return (*(f"{node.name}-{part}" for part in ("root", "seed", "domain")), *sorted(steps))


def _agreed(what: str) -> None:
    """Raises RefusedError unless somebody says yes."""
    if not sys.stdin.isatty():
        raise RefusedError(f"replace {what}: asks before it does it, and nobody is there to answer: use --yes")
    if not typer.confirm(f"replace {what}?", err=True):
        raise RefusedError(f"replace {what}: not agreed to; nothing was done")
