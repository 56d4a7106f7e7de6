"""What a stack is, and what `up` would change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from halab import engines, hypervisors, impact
from halab.display import diff, model, text
from halab.embedded.engine.events import Diagnostic, Event, Summary
from halab.embedded.hypervisor.hypervisor import Hypervisor
from halab.embedded.provider import ProviderError
from halab.engines.embedded import Embedded
from halab.errors import DONE, FAILED, RefusedError
from halab.host.probe import virt_type
from halab.labels import label
from halab.stacks import admission
from halab.stacks.admission import Obstacles
from halab.stacks.claims import on_this_host
from halab.timing import History
from halab.workspace import Workspace


def run(workspace: Workspace, *, model_only: bool, as_json: bool) -> int:
    console = text.console(error=as_json)
    if not as_json:
        _show_model(workspace, console)
    summary = None if model_only else changes(workspace, console)
    warnings = obstacles(workspace)
    for line in warnings:
        console.print(Text.assemble(("warning: ", "yellow"), line))
    if as_json:
        print(json.dumps({**_document(workspace, summary), "warnings": warnings}, indent=1))
    elif summary is not None:
        show_changes(workspace, summary, console)
    return DONE if summary is None or summary.ok else FAILED


def obstacles(workspace: Workspace) -> list[str]:
    """What would stand against an up on this host now, a line each; another host is not asked."""
    try:
        at = hypervisors.choose(workspace).name
        found = admission.look(workspace, at, admission.emulates(workspace)) if on_this_host(at) else Obstacles()
    except (RefusedError, ProviderError) as error:
        return [str(error)]
    return [*found.clashes, *found.shortages]


def _show_model(workspace: Workspace, console: Console) -> None:
    for part in (
        model.topology(workspace.topology),
        model.steps(workspace.plan, History.read(workspace.history).seconds),
    ):
        console.print(part)
        console.print()


def changes(workspace: Workspace, console: Console, target: Sequence[str] = (), replace: Sequence[str] = ()) -> Summary:
    """The embedded engine's preview against the stack's state, which both engines keep in the same place."""
    record = workspace.record()
    known = record.hypervisor if record else hypervisors.EMBEDDED
    uri = Hypervisor(workspace.stack, workspace.state).uri if known in ("", hypervisors.EMBEDDED) else known
    runner = Embedded(workspace, uri, engines.environment(uri, _domain_type(workspace)), keep=False)

    def on_event(event: Event) -> None:
        if isinstance(event, Diagnostic) and event.severity in ("warning", "error"):
            console.print(Text.assemble((f"{event.severity}: ", "yellow"), event.text.rstrip()))

    return runner.preview(on_event, target, replace)


def _domain_type(workspace: Workspace) -> str:
    """As `up` found it; a preview boots no probe guest."""
    asked = workspace.topology.stack.hypervisor.domain_type
    if asked != "auto":
        return asked
    return virt_type(workspace.state).domain_type if (workspace.state / "probe.json").exists() else "qemu"


def show_changes(workspace: Workspace, summary: Summary, console: Console) -> None:
    counts = diff.counts(summary.steps)
    lines = list(diff.changed(summary.steps))
    created = [line for line in lines if line.plain.startswith("+ create")]
    if len(created) == len(lines) > 20:
        console.print(f"up would create everything: {text.counted(len(created), 'resource')}")
    else:
        for line in lines:
            console.print(line)
    for failure in summary.failures:
        head = label(failure.urn) if failure.urn else "the program"
        console.print(Text.assemble((f"failed: {head}", "bold red"), f": {failure.error.strip()}"))
    told = ", ".join(f"{counts.get(op, 0)} to {op}" for op in ("create", "update", "replace", "delete"))
    console.print(f"{told}, {counts.get('same', 0)} unchanged")
    change = impact.change(summary.steps)
    if touched := impact.words(workspace.topology, change):
        console.print("what that touches:")
        console.print("\n".join(f"  {line}" for line in touched))
    if problems := impact.too_many(workspace.topology, change):
        each = impact.one_by_one(workspace.topology, change) or "fewer nodes at a time"
        console.print(Text.assemble(("up refuses to do that at once: ", "yellow"), each, " instead, or --at-once"))
        console.print("\n".join(f"  {line}" for line in problems))


def _document(workspace: Workspace, summary: Summary | None) -> dict[str, Any]:
    topology, plan = workspace.topology, workspace.plan
    document: dict[str, Any] = {
        "stack": workspace.stack,
        "variant": str(topology.stack.variant),
        "memory_mib": topology.memory,
        "vms": [
            {
                "node": node.name,
                "domain": node.domain,
                "address": str(node.ip),
                "memory_mib": node.memory,
                "vcpus": node.vcpus,
                "disk_gib": node.disk,
                "image": node.image,
                "cluster": node.cluster,
                "membership": str(node.membership),
                "services": [str(service) for service in node.services],
            }
            for node in topology.nodes
        ],
        "vips": {vip.name: str(vip.ip) for vip in topology.vips},
        "waves": [[step.name for step in wave] for wave in plan.waves()],
        "critical_path": [step.name for step in plan.critical_path(History.read(workspace.history).seconds)],
    }
    if summary is not None:
        document["changes"] = dict(diff.counts(summary.steps))
        document["steps"] = [
            {
                "op": op,
                "resource": label(urn),
                "urn": urn,
                "diff": {path: {"kind": str(c.kind), "old": c.old, "new": c.new} for path, c in changed.items()},
            }
            for op, urn, changed in summary.steps
            if op != "same"
        ]
        change = impact.change(summary.steps)
        document["touches"] = impact.words(topology, change)
        document["too_many_at_once"] = impact.too_many(topology, change)
        document["failures"] = [{"urn": f.urn, "error": f.error} for f in summary.failures]
    return document
