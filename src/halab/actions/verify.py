"""Ask the cloud whether it works."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from halab import hypervisors
from halab.actions import cloud
from halab.display import text
from halab.errors import DONE, FAILED
from halab.workspace import Workspace, now

if TYPE_CHECKING:
    from halab.verify import Finding, Report


def run(workspace: Workspace, *, junit: Path | None, as_json: bool) -> int:
    hypervisors.reach(workspace)
    console = text.console(error=as_json)
    report = ask(workspace, console)
    if junit:
        report.write_junit(junit)
    if as_json:
        found = [asdict(finding) for finding in report.findings]
        print(json.dumps({"stack": workspace.stack, "ok": report.ok, "checks": found}, indent=1))
    return DONE if report.ok else FAILED


def ask(workspace: Workspace, console: Console) -> Report:
    """Every question, each answer printed as it comes; the stack's record notes whether it passed."""
    report = asyncio.run(_ask(workspace, console))
    if workspace.record() is not None:  # a down may have come meanwhile
        workspace.note(verified=now() if report.ok else "")
    good = len(report.findings) - len(report.failed)
    aside = sum(bool(finding.by_design) for finding in report.findings)
    told = f"verify: {good} of {text.counted(len(report.findings), 'check')} passed"
    told += f", {aside} of them by design not so" if aside else ""
    console.print(Text(told, "bold green" if report.ok else "bold red"))
    return report


async def _ask(workspace: Workspace, console: Console) -> Report:
    from halab import verify

    own = cloud.keys(workspace)
    names: dict[str, set[str]] = {}
    for step in workspace.plan.steps:
        names.setdefault(step.node, set()).update(step.secrets)
    async with cloud.remote(workspace) as remote:
        context = verify.Context(
            topology=workspace.topology,
            run=remote.run,
            secrets=own.secrets,
            ca=own.ca,
            state=tuple(path for path in (workspace.engine_state, workspace.logs) if path.exists()),
            secret_names={node: frozenset(found) for node, found in names.items()},
        )
        return await verify.run(context, on_finding=lambda finding: console.print(line(finding)))


def line(finding: Finding) -> Text:
    if finding.by_design:
        design = (f"by design ({finding.by_design}): ", "yellow")
        return Text.assemble(("design", "yellow"), f" {finding.check}: ", design, (finding.evidence, "dim"))
    mark = ("ok    ", "green") if finding.ok else ("FAILED", "bold red")
    return Text.assemble(mark, f" {finding.check}: ", (finding.evidence, "dim" if finding.ok else ""))
