"""Commands that need no VM, in fresh processes: `preview` and `graph`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from halab.bench.figures import Figure, Result, interleaved
from halab.errors import HalabError

#: The stack's plan and nothing else: no command line, no engine, no display.
_PLAN = """
import sys
from pathlib import Path
from components.plan import plan
from components.topology import derive
from components.variant import load
plan(derive(load(Path(sys.argv[1]), sys.argv[2])))
"""
_PYTHON = "an empty Python (python -c pass)"
_MODEL = "the plan alone (stack file to step graph, in a Python of its own)"


def timed(
    commands: Mapping[str, Sequence[str]], repeat: int, project: Path, tell: Callable[[str], None]
) -> dict[str, Figure]:
    """Each command `repeat` times, turn by turn, after one run of each that does not count (it fills caches).

    Raises HalabError when one fails: a failed command's time says nothing.
    """
    environment = {**os.environ, "PYTHONPATH": f"{project}:{project / 'src'}", "PYTHONSAFEPATH": "1"}
    for what, command in commands.items():
        _once(what, command, environment)
    seconds: dict[str, list[float]] = {what: [] for what in commands}
    for turn, what in enumerate(interleaved(list(commands), repeat), 1):
        tell(f"{turn} of {repeat * len(commands)}: {what}")
        seconds[what].append(_once(what, commands[what], environment))
    return {what: Figure(what, tuple(found)) for what, found in seconds.items()}


def _once(what: str, command: Sequence[str], environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip() or "no output").splitlines()[-1]
        raise HalabError(f"bench: {what} ended with {done.returncode}: {last}")
    return seconds


def _beside(project: Path, stack: str) -> dict[str, list[str]]:
    return {_PYTHON: [sys.executable, "-c", "pass"], _MODEL: [sys.executable, "-c", _PLAN, str(project), stack]}


def preview(halab: Path, project: Path, stack: str, repeat: int, tell: Callable[[str], None]) -> list[Result]:
    """`halab`: the launcher; `project`: where the stack's file is."""
    what = f"./halab preview --stack {stack}"
    commands = {what: [str(halab), "preview", "--stack", stack], **_beside(project, stack)}
    found = timed(commands, repeat, halab.parent, tell)
    note = "the whole command: launcher, model, engine and program, diff against the stack's state"
    return [Result("preview", found[what], (found[_MODEL], found[_PYTHON]), (note,))]


def graph(halab: Path, project: Path, stack: str, repeat: int, tell: Callable[[str], None]) -> list[Result]:
    """Every kind that needs no up, as dot; and the step graph as SVG, where Graphviz does the work."""
    kinds = {
        f"./halab graph --kind {kind} --format {form}": ["--kind", kind, "--format", form]
        for kind, form in (("topology", "dot"), ("constraints", "dot"), ("steps", "dot"), ("steps", "svg"))
    }
    commands = {what: [str(halab), "graph", "--stack", stack, *options] for what, options in kinds.items()}
    found = timed({**commands, **_beside(project, stack)}, repeat, halab.parent, tell)
    return [Result("graph", found[what], (found[_MODEL], found[_PYTHON])) for what in kinds]
