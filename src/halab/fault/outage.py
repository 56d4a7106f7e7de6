"""What a probe loop's answers say of a fault. Pure; seconds, counted from the fault: before it they are negative."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Successes in a row after which an outage counts as over.
STEADY = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One question of a probe: asked `at`, answered or given up after `seconds`; `problem` is "" for an answer."""

    at: float
    seconds: float
    problem: str = ""

    @property
    def ok(self) -> bool:
        return not self.problem


@dataclass(frozen=True, slots=True)
class Outage:
    """From when the first failed question was asked, but not before the fault, to when the first of STEADY successes
    was; `end` is None for one that is not over. `problem`: what the first failure was."""

    start: float
    end: float | None
    failures: int
    problem: str

    def seconds(self, now: float) -> float:
        return (now if self.end is None else self.end) - self.start


def outages(samples: Sequence[Sample]) -> tuple[Outage, ...]:
    """In order of time. Of two outages with fewer than STEADY successes between them there is one."""
    found: list[Outage] = []
    row: list[Sample] = []
    current: list[Sample] = []
    for sample in samples:
        if not sample.ok:
            current.append(sample)
            row.clear()
        elif current:
            row.append(sample)
            if len(row) == STEADY:
                found.append(_outage(current, row[0].at))
                current, row = [], []
    if current:
        found.append(_outage(current, None))
    return tuple(found)


def _outage(failed: Sequence[Sample], end: float | None) -> Outage:
    return Outage(max(failed[0].at, 0.0), end, len(failed), failed[0].problem)


def steady(samples: Sequence[Sample], since: float) -> bool:
    """Whether the last STEADY questions were asked after `since` and answered."""
    last = samples[-STEADY:]
    return len(last) == STEADY and all(sample.ok and sample.at >= since for sample in last)


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of the questions that were answered; None where none was."""

    median: float | None
    worst: float | None


def latency(samples: Iterable[Sample]) -> Latency:
    """Median and worst over the questions that were answered."""
    times = [sample.seconds for sample in samples if sample.ok]
    return Latency(statistics.median(times), max(times)) if times else Latency(None, None)


@dataclass(frozen=True, slots=True)
class ProbeSummary:
    """`outage`: seconds of the longest one, 0 without any; `total`: of all together; `over`: whether the last ended."""

    asked: int
    failures: int
    outage: float
    total: float
    over: bool
    outages: tuple[Outage, ...]
    before: Latency
    during: Latency


def summary(samples: Iterable[Sample], since: float, until: float) -> ProbeSummary:
    """`since`: when the calm before the fault began (negative); what was before that says nothing of the cloud.
    `until`: when the watch ended; an outage that is not over lasted until then."""
    samples = [sample for sample in samples if sample.at >= since]
    found = outages(samples)
    after = [sample for sample in samples if sample.at >= 0]
    lengths = [one.seconds(until) for one in found]
    return ProbeSummary(
        asked=len(after),
        failures=sum(one.failures for one in found),
        outage=max(lengths, default=0.0),
        total=sum(lengths),
        over=all(one.end is not None for one in found),
        outages=found,
        before=latency(sample for sample in samples if sample.at < 0),
        during=latency(after),
    )


def streak(looks: Iterable[tuple[float, bool]]) -> float | None:
    """When the looks (time, well) began to be well for good: None where the last one was not."""
    began: float | None = None
    for at, well in looks:
        began = (at if began is None else began) if well else None
    return began
