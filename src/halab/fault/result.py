"""What is kept of a fault: one JSON file per run, below <state>/faults/<stack>/."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from halab.fault.course import Course
from halab.fault.outage import ProbeSummary
from halab.host.machine import cpu_model, meminfo
from halab.image import spec
from halab.workspace import Workspace, write_json

#: Raised when the meaning of a key changes.
VERSION = 1


@dataclass(frozen=True, slots=True)
class Result:
    """One fault that was carried out. `goals`: seconds by probe, and "well"; `lost`: confirmed writes that are gone.

    `accelerator`: kvm or qemu (emulation, which makes every guest ten to twenty times slower); `key`: the beginning of
    the golden cloud's (halab.snapshot.key), so that results of one and the same cloud are known.
    """

    fault: str
    stack: str
    variant: str
    began: str
    seed: int
    ok: bool
    problem: str
    victims: tuple[str, ...]
    goals: Mapping[str, float]
    probes: Mapping[str, Mapping[str, Any]]
    fenced: Mapping[str, float]
    steady: float | None
    well: float | None
    ended: float
    hands: tuple[str, ...]
    events: tuple[tuple[float, str], ...]
    acknowledged: int
    lost: int
    checks: tuple[Mapping[str, Any], ...]
    probe_limit: float
    accelerator: str
    host: Mapping[str, Any]
    versions: Mapping[str, str]
    key: str
    version: int = VERSION

    def measured(self, what: str) -> float | None:
        """Seconds for a goal's name: the probe's longest outage, or until the cluster was well."""
        if what == "well":
            return self.well
        found = self.probes.get(what)
        return None if found is None else float(found["outage"])

    def met(self, what: str) -> bool:
        seconds = self.measured(what)
        return seconds is not None and seconds <= self.goals[what]


def from_course(course: Course, summaries: Mapping[str, ProbeSummary], **rest: Any) -> Result:
    """`rest`: what the course does not know."""
    return Result(
        victims=course.victims,
        probes={name: _rounded(asdict(one)) for name, one in summaries.items()},
        fenced=course.fenced,
        steady=course.steady,
        well=course.well,
        ended=course.ended,
        hands=tuple(course.hands),
        events=tuple(course.events),
        **rest,
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def folder(state: Path, stack: str) -> Path:
    """Where a stack's results are kept, a file each; it need not exist."""
    return state / "faults" / stack


def write(workspace: Workspace, result: Result) -> Path:
    """Keep a result beside the earlier ones, named by its time and fault; the file."""
    stamp = result.began.replace("-", "").replace(":", "")
    path = folder(workspace.state, workspace.stack) / f"{stamp}-{result.fault}.json"
    write_json(path, asdict(result))
    return path


def read(path: Path) -> Result | None:
    """None for a file of another version, or none of ours."""
    try:
        found = json.loads(path.read_text())
        if found.get("version") != VERSION:
            return None
        return Result(**{key: found[key] for key in Result.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_all(state: Path, stacks: Iterable[str]) -> list[Result]:
    """Of these stacks, oldest first."""
    paths = [path for stack in stacks for path in folder(state, stack).glob("*.json")]
    found = [result for path in paths if (result := read(path)) is not None]
    return sorted(found, key=lambda result: result.began)


def host() -> dict[str, Any]:
    """The machine this process runs on: CPU model, cores that it may use, memory in GiB, kernel."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(meminfo("MemTotal") / 1024, 1),
        "kernel": platform.release(),
    }


def versions(workspace: Workspace) -> dict[str, str]:
    """halab's commit ("" outside a checkout), the suite, and the key of each image."""
    done = subprocess.run(
        ["git", "-C", str(workspace.project), "rev-parse", "--short=12", "HEAD"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    images = sorted({node.image for node in workspace.topology.nodes})
    return {
        "halab": done.stdout.strip(),
        "suite": workspace.topology.stack.suite,
        **{f"image {name}": spec.image_key(name)[:12] for name in images},
    }
