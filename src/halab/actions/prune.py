"""Take down the stacks that have been up for long."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from components.variant import StackError
from halab.actions import down
from halab.display import text
from halab.display.stacks import stacks
from halab.embedded.engine.errors import EngineError
from halab.embedded.hypervisor.paths import HypervisorError, state_folder
from halab.embedded.provider import ProviderError
from halab.errors import DONE, FAILED, HalabError
from halab.stacks import ages
from halab.stacks.known import Condition
from halab.stacks.survey import Row, survey, workspace


def run(project: Path, older_than: str, *, files: bool, yes: bool, as_json: bool) -> int:
    limit = ages.older_than(older_than)
    console = text.console(error=as_json)
    chosen = _chosen(project, limit, files=files)
    agreed = bool(chosen) and (yes or _agreed(chosen, older_than, console, files=files, ask=not as_json))
    failed = {row.name: problem for row in chosen if agreed and (problem := _prune(project, row, console, files=files))}
    if as_json:
        names = [row.name for row in chosen]
        gone = [name for name in names if agreed and name not in failed]
        print(json.dumps({"chosen": names, "gone": gone, "failed": failed}, indent=1))
    elif not chosen:
        console.print(f"no stack is older than {older_than}")
    for name, problem in failed.items():
        console.print(Text.assemble((f"{name}: ", "bold red"), problem))
    return FAILED if failed else DONE


def _chosen(project: Path, limit: int, *, files: bool) -> list[Row]:
    state = state_folder()
    rows = {row.name: row for row in survey(project, state) if row.state == str(state)}
    aged = [
        ages.Aged(row.name, row.age, row.condition is Condition.DOWN, row.condition is Condition.BUSY, row.own_file)
        for row in rows.values()
    ]
    return [rows[name] for name in ages.choose(aged, limit, files=files)]


def _agreed(chosen: list[Row], older_than: str, console: Console, *, files: bool, ask: bool) -> bool:
    """Show what would go, and ask where there is somebody to."""
    console.print(f"older than {older_than}:")
    console.print(stacks(chosen, chosen[0].state))
    mine = [row.file for row in chosen if files and row.own_file]
    if mine:
        console.print(f"their files too: {', '.join(mine)}")
    if not ask or not sys.stdin.isatty():
        console.print("nothing was done: nobody to ask here; --yes takes them down")
        return False
    return typer.confirm(f"take down {text.counted(len(chosen), 'stack')}?")


def _prune(project: Path, row: Row, console: Console, *, files: bool) -> str:
    """Why it could not go, "" when it did."""
    try:
        if row.condition is not Condition.DOWN:
            stack = workspace(project, row)
            gone = down.take_down(stack, console)
            down.show(stack, gone, console)
            if gone.left:
                return f"something is left; run ./halab down --stack {row.name}"
    except (HalabError, EngineError, HypervisorError, ProviderError, StackError) as error:
        return str(error)
    if files and row.own_file:
        Path(row.file).unlink(missing_ok=True)
        console.print(f"deleted {row.file}")
    return ""
