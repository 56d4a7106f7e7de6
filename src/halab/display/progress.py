"""The state of a run as its events tell it. Pure: time comes in with the events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from halab.embedded.engine.events import Event, ResourceFinished, ResourceStarted
from halab.labels import is_work, label, stage
from halab.timing import History, StepTime

#: Operations that are no change to the cloud.
IDLE = frozenset({"same", "refresh"})


@dataclass(frozen=True, slots=True)
class Running:
    """An operation under way; `since` in seconds since the epoch."""

    op: str
    urn: str
    since: float


@dataclass(frozen=True, slots=True)
class Failed:
    """An operation that failed after `seconds`."""

    op: str
    urn: str
    error: str
    seconds: float


@dataclass
class Progress:
    """`expected`: the URNs of steps that will run, as far as known; `began`: when, seconds since the epoch."""

    began: float
    expected: frozenset[str] = frozenset()
    history: History = field(default_factory=History)
    running: dict[str, Running] = field(default_factory=dict)
    finished: list[StepTime] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def feed(self, event: Event) -> StepTime | None:
        """Take one event in; the step that it ended, if it did."""
        if isinstance(event, ResourceStarted):
            if is_work(event.urn) and event.op not in IDLE:
                self.running[event.urn] = Running(event.op, event.urn, event.at)
            return None
        if not isinstance(event, ResourceFinished):
            return None
        begun = self.running.pop(event.urn, None)
        if not event.ok:
            self.failed.append(Failed(event.op, event.urn, event.error, event.seconds))
        if begun is None:
            return None
        start = begun.since - self.began
        done = StepTime(event.urn, start, start + event.seconds, event.ok)
        self.finished.append(done)
        return done

    @property
    def total(self) -> int:
        return len(self.expected | {step.urn for step in self.finished} | self.running.keys())

    @property
    def waiting(self) -> frozenset[str]:
        return self.expected - {step.urn for step in self.finished} - self.running.keys()

    def remaining(self, now: float) -> float | None:
        """Seconds left by earlier runs' durations; None where they say too little."""
        running = {label(one.urn): now - one.since for one in self.running.values()}
        return self.history.remaining((label(urn) for urn in self.waiting), running)

    def stages(self) -> list[tuple[str, int, int, int]]:
        """(stage, done, running, all), in the order of first appearance; those not begun last."""
        counts: dict[str, tuple[int, int, int]] = {}
        done = {step.urn for step in self.finished if step.ok}
        for urn in dict.fromkeys([*(step.urn for step in self.finished), *self.running, *sorted(self.waiting)]):
            before = counts.get(stage(urn), (0, 0, 0))
            counts[stage(urn)] = (before[0] + (urn in done), before[1] + (urn in self.running), before[2] + 1)
        return [(name, *three) for name, three in counts.items()]


def work(steps: Iterable[tuple[str, str, Mapping[str, object]]]) -> frozenset[str]:
    """The URNs among a summary's steps on which there is something to do."""
    return frozenset(urn for op, urn, _ in steps if op not in IDLE and is_work(urn))
