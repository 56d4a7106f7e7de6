"""How long a run's steps took: the critical path, the efficiency, and the estimate they give for the next run. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from halab.labels import label, stage


@dataclass(frozen=True, slots=True)
class StepTime:
    """One finished operation; seconds since the run began."""

    urn: str
    start: float
    end: float
    ok: bool = True

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def label(self) -> str:
        return label(self.urn)

    @property
    def stage(self) -> str:
        return stage(self.urn)


@dataclass(frozen=True, slots=True)
class StageTime:
    """`busy`: the sum of its steps; `start` to `end`: when its first began and its last ended; seconds."""

    name: str
    steps: int
    start: float
    end: float
    busy: float


@dataclass(frozen=True, slots=True)
class CpuTime:
    """CPU seconds of this host spent during a run: by the VMs' processes, and by halab itself."""

    vms: float
    own: float

    @property
    def total(self) -> float:
        return self.vms + self.own


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Seconds that counters (by VM) rose by; one that is new, or lower because its VM began anew, counts from zero."""
    return sum(end - start if end >= (start := before.get(name, 0.0)) else end for name, end in after.items())


@dataclass(frozen=True)
class RunTimes:
    """A whole run. `after`: URN to the URNs it had to wait for (URNs without a StepTime take no time).

    `cpu` is None where it could not be had: the VMs are on another host, or libvirt did not say.
    """

    steps: tuple[StepTime, ...]
    cores: int
    after: Mapping[str, frozenset[str]] = field(default_factory=dict)
    cpu: CpuTime | None = None

    @property
    def makespan(self) -> float:
        """From the first step's begin to the last one's end."""
        return max((s.end for s in self.steps), default=0.0) - min((s.start for s in self.steps), default=0.0)

    @property
    def total(self) -> float:
        """All steps one after the other."""
        return sum(step.seconds for step in self.steps)

    @cached_property
    def critical_path(self) -> tuple[StepTime, ...]:
        """The chain of steps, each waiting for the one before, that took longest."""
        times = {step.urn: step for step in self.steps}
        graph = {urn: set(self.after.get(urn, ())) for urn in {*times, *self.after}}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError:
            order = list(times)
        best: dict[str, tuple[float, str | None]] = {}
        for urn in order:
            before = max(((best[b][0], b) for b in graph.get(urn, ()) if b in best), default=(0.0, None))
            own = times[urn].seconds if urn in times else 0.0
            best[urn] = (before[0] + own, before[1])
        chain: list[StepTime] = []
        current = max(best, key=lambda urn: best[urn][0], default=None)
        while current is not None:
            if current in times:
                chain.append(times[current])
            current = best[current][1]
        return tuple(reversed(chain))

    @property
    def critical(self) -> float:
        return sum(step.seconds for step in self.critical_path)

    @property
    def chained(self) -> float:
        """The share of the run in which a step of the critical path was under way."""
        return self.critical / self.makespan if self.makespan else 1.0

    @property
    def busy(self) -> float | None:
        """The share of all cores' time that the run's own work took."""
        if self.cpu is None:
            return None
        return self.cpu.total / self.cores / self.makespan if self.makespan else 1.0

    @property
    def efficiency(self) -> float:
        """max(critical path, CPU seconds ÷ cores) ÷ makespan; the critical path alone where `cpu` is unknown.

        A step that waits for a guest takes no core, so the sum of the steps' durations says nothing about the machine.
        1: the longest chain, or the machine, was never idle.
        """
        return max(self.chained, self.busy or 0.0)

    @property
    def stages(self) -> tuple[StageTime, ...]:
        """In the order in which they began."""
        groups: dict[str, list[StepTime]] = {}
        for step in self.steps:
            groups.setdefault(step.stage, []).append(step)
        found = (
            StageTime(
                name, len(group), min(s.start for s in group), max(s.end for s in group), sum(s.seconds for s in group)
            )
            for name, group in groups.items()
        )
        return tuple(sorted(found, key=lambda one: one.start))

    def as_json(self) -> dict[str, Any]:
        return {
            "makespan": round(self.makespan, 2),
            "total": round(self.total, 2),
            "cores": self.cores,
            "critical": round(self.critical, 2),
            "cpu": {"vms": round(self.cpu.vms, 2), "halab": round(self.cpu.own, 2)} if self.cpu else None,
            "chained": round(self.chained, 3),
            "busy": None if self.busy is None else round(self.busy, 3),
            "efficiency": round(self.efficiency, 3),
            "critical_path": [{"step": s.label, "seconds": round(s.seconds, 2)} for s in self.critical_path],
            "stages": [
                {"stage": s.name, "steps": s.steps, "start": round(s.start, 2), "end": round(s.end, 2)}
                | {"busy": round(s.busy, 2)}
                for s in self.stages
            ],
            "steps": [
                {"step": s.label, "stage": s.stage, "start": round(s.start, 2), "seconds": round(s.seconds, 2)}
                | {"ok": s.ok}
                for s in sorted(self.steps, key=lambda s: s.start)
            ],
        }


def whole(times: Mapping[str, Any], steps: Iterable[str]) -> bool:
    """Whether a run, as RunTimes.as_json gives it, did all these steps, and nothing in it failed."""
    return all(one.get("ok") is True for one in times["steps"]) and {one["step"] for one in times["steps"]} >= {*steps}


def dependencies(resources: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """URN to what it had to wait for, from the `resources` of a Pulumi v3 checkpoint."""
    found: dict[str, frozenset[str]] = {}
    for one in resources:
        before = {*(one.get("dependencies") or ())}
        for urns in (one.get("propertyDependencies") or {}).values():
            before.update(urns or ())
        before.update(one.get("replaceWith") or ())
        if one.get("parent"):
            before.add(one["parent"])
        found[one["urn"]] = frozenset(before - {one["urn"]})
    return found


@dataclass(frozen=True, slots=True)
class History:
    """What earlier runs on this host took. `seconds` by label; `together`: how many steps ran at once on average."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    together: float = 1.0

    @classmethod
    def read(cls, path: Path) -> History:
        """Empty without a readable file."""
        try:
            found = json.loads(path.read_text())
            return cls(dict(found["seconds"]), float(found["together"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def learn(self, run: RunTimes) -> History:
        """With this run's steps in place of earlier ones; a run of a few steps says nothing about `together`."""
        done = {step.label: round(step.seconds, 2) for step in run.steps if step.ok}
        whole = len(done) >= len(self.seconds) / 2 and run.makespan > 0
        return History({**self.seconds, **done}, run.total / run.makespan if whole else self.together)

    def remaining(self, labels: Iterable[str], running: Mapping[str, float]) -> float | None:
        """Seconds until steps not begun (`labels`) and begun ones (label to seconds so far) are done, if known."""
        waiting = [self.seconds.get(one) for one in labels]
        begun = [(self.seconds.get(one), so_far) for one, so_far in running.items()]
        known = [s for s in waiting if s is not None] + [s for s, _ in begun if s is not None]
        if len(known) < 0.8 * (len(waiting) + len(begun)):
            return None
        left = [max(s - so_far, 0.0) for s, so_far in begun if s is not None]
        total = sum(s for s in waiting if s is not None) + sum(left)
        return max(total / max(self.together, 1.0), max(left, default=0.0))
