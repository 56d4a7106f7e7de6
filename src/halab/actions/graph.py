"""Pictures of a stack, and of its last up."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any, Literal

from rich.console import RenderableType

from components import dot
from components.cluster import constraints
from components.plan import managed
from halab.display import gantt, model, text
from halab.errors import DONE, HalabError, RefusedError
from halab.timing import History
from halab.workspace import Workspace

Kind = Literal["topology", "steps", "constraints", "times"]
Format = Literal["text", "dot", "svg"]


def run(workspace: Workspace, kind: Kind, format_: Format) -> int:
    if kind == "times" and format_ == "dot":
        raise RefusedError("--format dot: --kind times is a drawing over time, not a graph: text or svg")
    if format_ == "text":
        text.console().print(_text(workspace, kind))
    elif kind == "times":
        sys.stdout.write(gantt.svg(_times(workspace), f"{workspace.stack}: the last up"))
    else:
        source = _dot(workspace, kind)
        sys.stdout.write(source if format_ == "dot" else svg(source))
    return DONE


def _text(workspace: Workspace, kind: Kind) -> RenderableType:
    if kind == "topology":
        return model.topology(workspace.topology)
    if kind == "steps":
        return model.steps(workspace.plan, History.read(workspace.history).seconds)
    if kind == "constraints":
        topology = workspace.topology
        return model.constraints(constraints.of(topology, managed(topology)), workspace.stack)
    return gantt.screen(_times(workspace))


def _dot(workspace: Workspace, kind: Kind) -> str:
    topology = workspace.topology
    if kind == "topology":
        return dot.topology(topology)
    if kind == "steps":
        return dot.steps(workspace.plan, f"{workspace.stack}: steps")
    return dot.constraints(constraints.of(topology, managed(topology)), f"{workspace.stack}: constraints")


def _times(workspace: Workspace) -> dict[str, Any]:
    """Raises RefusedError where no up was timed on this host."""
    try:
        found: dict[str, Any] = json.loads(workspace.times.read_text())
        gantt.bars(found), gantt.headline(found)
    except FileNotFoundError:
        raise RefusedError(
            f"{workspace.stack}: no up that did anything was timed on this host yet ({workspace.times}); "
            f"run ./halab up --stack {workspace.stack}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"{workspace.times}: cannot be read ({error}); the next ./halab up writes it anew") from None
    return found


def svg(source: str) -> str:
    """Graphviz's drawing. Raises RefusedError without dot."""
    dot = shutil.which("dot")
    if dot is None:
        raise RefusedError("dot (Graphviz) is not installed; run ./halab doctor, or use --format dot")
    done = subprocess.run([dot, "-Tsvg"], input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HalabError(f"dot ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout
