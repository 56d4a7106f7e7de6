"""What an up did, what it tells of that, and what it notes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from halab import engines
from halab.display import text
from halab.embedded.engine.events import Summary
from halab.fault import result
from halab.labels import label, readable
from halab.timing import RunTimes, whole
from halab.workspace import Workspace, write_json

#: Bytes: with less, a failed up is told of it.
_SCARCE = 256 << 20


@dataclass(frozen=True, slots=True)
class Built:
    """What one run of the program did; `times` and `log` are None when there was nothing to do."""

    summary: Summary
    times: RunTimes | None
    log: Path | None


class Parts:
    """What an up does one after the other, and how long each took, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.monotonic()

    @property
    def total(self) -> float:
        return time.monotonic() - self._began

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - began

    def __str__(self) -> str:
        return ", ".join(f"{name} {text.duration(seconds)}" for name, seconds in self.seconds.items())


def tell(workspace: Workspace, built: Built, console: Console) -> None:
    """Its failures, where their logs are and how to go on; or that there was nothing to do."""
    summary = built.summary
    if built.times is None and summary.ok:
        console.print(f"nothing to do: {text.counted(len(summary.steps), 'resource')} as they should be")
        return
    for failure in summary.failures:
        lines = readable(failure.error).strip().splitlines() or ["no reason given"]
        head = label(failure.urn) if failure.urn else "the program"
        console.print(Text.assemble((f"failed: {head}", "bold red"), f": {lines[0]}"))
        for one in lines[1:16]:
            console.print(Text(f"    {one}"))
    if not summary.ok:
        what = "interrupted" if summary.cancelled else f"{text.counted(len(summary.failures), 'failure')}"
        again = f"./halab up --stack {workspace.stack}"
        where = f"; log: {built.log}" if built.log else ""
        if (free := shutil.disk_usage(workspace.state).free) < _SCARCE:
            console.print(f"the file system of {workspace.state} is full: {free >> 20} MiB left; make room first")
        console.print(f"{what}{where}; a node's own logs: ./halab logs NODE; to go on: {again}")


def what_next(workspace: Workspace, runner: engines.Runner, console: Console) -> None:
    """What a user does with a cloud that is up."""
    outputs = runner.outputs()
    for name, url in (outputs.get("endpoints") or {}).items():
        console.print(f"  {name:<10} {url}")
    console.print(f"  CA         {outputs.get('ca_certificate', '')}")
    console.print(f"  next: ./halab status · ./halab ssh · ./halab down   (--stack {workspace.stack})")


def note_times(workspace: Workspace, found: RunTimes, accelerator: str, parts: Parts, *, ok: bool) -> None:
    """Writes what this up took; one that did every step and is `ok` also for the comparison with others."""
    noted = {**found.as_json(), "parts": _rounded(parts.seconds)}
    write_json(workspace.times, noted)
    if ok and whole(noted, workspace.plan.by_name):
        began = datetime.now(UTC) - timedelta(seconds=parts.total)
        machine = {"host": result.host(), "accelerator": accelerator, "versions": result.versions(workspace)}
        write_json(workspace.build, {**noted, "began": f"{began:%Y-%m-%dT%H:%M:%SZ}", **machine})


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in seconds.items()}


def document(
    workspace: Workspace,
    runner: engines.Runner,
    built: Built,
    proof: dict[str, float],
    checks: list[dict[str, Any]],
    ok: bool,
    parts: Parts,
) -> dict[str, Any]:
    """What `up --json` prints: seconds with one decimal, `proof` node to seconds, failures by their short names."""
    return {
        "stack": workspace.stack,
        "ok": ok,
        "seconds": round(parts.total, 1),
        "parts": _rounded(parts.seconds),
        "engine": runner.name,
        "changed": built.times is not None,
        "counts": dict(built.summary.counts),
        "failures": [{"resource": label(f.urn), "error": f.error} for f in built.summary.failures],
        "fence_proof": proof,
        "checks": checks,
        "times": built.times.as_json() if built.times else None,
        "log": str(built.log) if built.log else None,
        "outputs": dict(runner.outputs()),
    }
