"""Take figures, show them, keep them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from components.variant import stack_file
from halab.bench import builds, cluster, commands
from halab.bench.figures import Result
from halab.bench.host import describe
from halab.bench.lab import CHECKOUT, Lab, described
from halab.display import text
from halab.display.bench import screen
from halab.errors import DONE, RefusedError
from halab.workspace import Workspace, now, write_json

#: What can be asked for, in the order in which it is taken: cheap ones first.
NAMES = ("preview", "graph", "cluster", "up", "restore", "fork")
_CLOUDS = frozenset({"up", "restore", "fork"})
#: How often each is repeated where nobody says.
_REPEAT = {"preview": 7, "graph": 7, "cluster": 1, "up": 1, "restore": 3, "fork": 3}
PREFIX = "bench-"


def run(
    workspace: Workspace, names: Sequence[str], repeat: int | None, baseline: builds.Baseline, *, as_json: bool
) -> int:
    for name in names:
        if name not in NAMES:
            raise RefusedError(f"WHAT: {name!r}: there are {', '.join(NAMES)}")
    asked = [name for name in NAMES if name in (names or ("preview", "graph"))]
    console = text.console(error=True)
    machine = describe(workspace.state)
    results: list[Result] = []
    for part in _parts(asked):
        results += _take(workspace, part, repeat or _REPEAT[part[0]], baseline, console)
    path = _keep(workspace, asked, results, machine)
    document = {"machine": machine, "results": [result.as_json() for result in results], "file": str(path)}
    if as_json:
        print(json.dumps(document, indent=1))
    else:
        shown = text.console()
        shown.print(screen(results, machine))
        shown.print(f"kept in {path}")
    return DONE


def _parts(asked: Sequence[str]) -> list[tuple[str, ...]]:
    """Those that share a cold up together, the others one by one."""
    clouds = tuple(name for name in asked if name in _CLOUDS)
    return [*((name,) for name in asked if name not in _CLOUDS), *([clouds] if clouds else [])]


def _take(
    workspace: Workspace, part: tuple[str, ...], repeat: int, baseline: builds.Baseline, console: Console
) -> list[Result]:
    def tell(what: str) -> None:
        console.print(f"{time.strftime('%H:%M:%S')} {part[0]}: {what}")

    simple: dict[str, Callable[..., list[Result]]] = {"preview": commands.preview, "graph": commands.graph}
    if part[0] in simple:
        return simple[part[0]](CHECKOUT / "halab", workspace.project, workspace.stack, repeat, tell)
    if part == ("cluster",):
        lab = _lab(workspace, cluster.DESCRIPTION, f"{PREFIX}cluster")
        with lab.session():
            return cluster.run(lab, repeat, tell)
    workspace.refuse_unbuildable()
    lab = _lab(workspace, stack_file(workspace.project, workspace.stack), f"{PREFIX}{workspace.stack}")
    with lab.session():
        return builds.run(lab, part, baseline, repeat, tell)


def _lab(workspace: Workspace, file: Path, name: str) -> Lab:
    return Lab(name, described(file), workspace.state / "bench")


def _keep(workspace: Workspace, asked: Sequence[str], results: Sequence[Result], machine: dict[str, Any]) -> Path:
    path = workspace.state / "bench" / f"{time.strftime('%Y%m%dT%H%M%S')}-{'-'.join(asked)}.json"
    write_json(
        path,
        {
            "taken": now(),
            "stack": workspace.stack,
            "machine": machine,
            "results": [result.as_json() for result in results],
        },
    )
    return path
