"""Pictures of a stack."""

from __future__ import annotations

import shutil
import subprocess
import sys

from components.steps import StepGraph
from components.topology import Topology
from halab.display import model, text
from halab.errors import DONE, HalabError, RefusedError
from halab.timing import History
from halab.workspace import Workspace


def run(workspace: Workspace, kind: str, format_: str) -> int:
    if format_ == "text":
        console = text.console()
        console.print(
            model.topology(workspace.topology)
            if kind == "topology"
            else model.steps(workspace.plan, History.read(workspace.history).seconds)
        )
        return DONE
    source = _dot(workspace.topology, workspace.plan if kind == "steps" else None)
    sys.stdout.write(source if format_ == "dot" else svg(source))
    return DONE


def _dot(topology: Topology, plan: StepGraph | None) -> str:
    from components.dot import steps
    from components.dot import topology as nodes

    return steps(plan, f"{topology.stack.name}: steps") if plan else nodes(topology)


def svg(source: str) -> str:
    """Graphviz's drawing. Raises RefusedError without dot."""
    dot = shutil.which("dot")
    if dot is None:
        raise RefusedError("dot (Graphviz) is not installed; run ./halab doctor, or use --format dot")
    done = subprocess.run([dot, "-Tsvg"], input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HalabError(f"dot ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout
