"""Compare the architectures by what the same faults do to them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from halab.display import comparison as display
from halab.display import text
from halab.errors import DONE, FAILED, RefusedError
from halab.fault import comparison, result
from halab.fault.comparison import Comparison
from halab.fault.faults import FAULTS, find
from halab.timing import whole
from halab.workspace import Workspace


def run(workspaces: Sequence[Workspace], faults: Sequence[str], *, carry_out: bool, write: bool, as_json: bool) -> int:
    """`faults`: those to carry out, all if none. Raises RefusedError for one that there is not."""
    console = text.console(error=as_json)
    for name in faults:
        try:
            find(name)
        except KeyError:
            raise RefusedError(f"--fault {name}: see ./halab fault list") from None
    problems = _all(workspaces, faults, console) if carry_out else []
    found = _found(workspaces)
    if write:
        _write(workspaces[0].project / "docs", found, console)
    if as_json:
        print(json.dumps({**asdict(found), "problems": problems}, indent=1))
    else:
        console.print(display.screen(found))
    for problem in problems:
        console.print(problem, style="bold red")
    return FAILED if problems else DONE


def _found(workspaces: Sequence[Workspace]) -> Comparison:
    times: dict[str, Mapping[str, Any]] = {}
    for workspace in workspaces:
        if found := _whole_up(workspace):
            times[workspace.stack] = found
    return comparison.compare(
        {workspace.stack: workspace.topology for workspace in workspaces},
        result.read_all(workspaces[0].state, [workspace.stack for workspace in workspaces]),
        {workspace.stack: len(workspace.plan.steps) for workspace in workspaces},
        times,
    )


def _whole_up(workspace: Workspace) -> Mapping[str, Any] | None:
    """Of the last up that did all steps without a failure; one that does not say when has the day of its file."""
    # a build was of all steps that there were then
    for path, steps in ((workspace.build, ()), (workspace.times, workspace.plan.by_name)):
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if whole(found, steps):
                return {"began": f"{written:%Y-%m-%d}", **found}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _write(folder: Path, found: Comparison, console: Console) -> None:
    """Raises RefusedError without a run: there is nothing to tell then."""
    if not found.runs:
        raise RefusedError("--write: no fault was carried out on these stacks yet; add --run")
    for name, content in (
        ("comparison.md", display.markdown(found)),
        ("comparison.html", display.page(found)),
        ("comparison.svg", display.chart(found) + "\n"),
    ):
        (folder / name).write_text(content)
        console.print(f"written: {folder / name}")


def _all(workspaces: Sequence[Workspace], faults: Sequence[str], console: Console) -> list[str]:
    """One stack after the other: up (from its golden cloud, if there is one), every fault, down. What failed."""
    problems: list[str] = []
    for workspace in workspaces:
        if workspace.record() is not None:
            raise RefusedError(f"{workspace.stack} is up: ./halab down --stack {workspace.stack} first")
    for workspace in workspaces:
        if not _halab(workspace, console, "up", "--yes"):
            problems.append(f"{workspace.stack}: did not come up; ./halab logs --stack {workspace.stack}")
        else:
            problems += [
                f"{workspace.stack}: {fault.name} failed"
                for fault in FAULTS
                if (not faults or fault.name in faults)
                and not fault.lacking(workspace.topology)
                and not _halab(workspace, console, "fault", "run", fault.name)
            ]
        if not _halab(workspace, console, "down"):
            problems.append(f"{workspace.stack}: down left something")
    return problems


def _halab(workspace: Workspace, console: Console, *arguments: str) -> bool:
    """A command of its own, since one that has entered a stack's network does not leave it again."""
    line = [*arguments, "--stack", workspace.stack]
    console.print(f"./halab {' '.join(line)}", style="bold")
    command = [str(workspace.project / "halab"), *line]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False).returncode == 0
