"""Measured times and what they are compared with. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """`seconds`: one value per repetition, in the order in which they were taken.

    `measured` is False for a number that was computed from others: `what` says from which.
    """

    what: str
    seconds: tuple[float, ...]
    measured: bool = True

    def __post_init__(self) -> None:
        if not self.seconds:
            raise ValueError(f"{self.what}: a figure needs one value at least")

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "measured": self.measured,
            "median": round(self.median, 3),
            "lowest": round(min(self.seconds), 3),
            "highest": round(max(self.seconds), 3),
            "seconds": [round(one, 3) for one in self.seconds],
        }


@dataclass(frozen=True, slots=True)
class Result:
    """One bench: the `figure`, what it is compared with, and what a reader must know about either (`notes`).

    `details`: further numbers, for programs.
    """

    name: str
    figure: Figure
    baselines: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "figure": self.figure.as_json(),
            "baselines": [{**baseline.as_json(), "ratio": ratio(baseline, self.figure)} for baseline in self.baselines],
            "notes": list(self.notes),
            "details": dict(self.details),
        }


def ratio(baseline: Figure, figure: Figure) -> float | None:
    """How many times the figure's median the baseline's is; above 1: the figure is faster. None for a figure of 0 s."""
    return round(baseline.median / figure.median, 3) if figure.median else None


def interleaved(names: Sequence[str], repeat: int) -> list[str]:
    """The order of a fair comparison: all once, then all again, each round begun by another one."""
    return [names[(start + turn) % len(names)] for turn in range(repeat) for start in range(len(names))]
