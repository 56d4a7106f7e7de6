"""What a run tells its caller: typed events while it goes, a summary at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Op = Literal[
    "same",
    "create",
    "update",
    "replace",
    "create-replacement",
    "delete-replaced",
    "delete",
    "refresh",
    "remove-pending-replace",
]
Severity = Literal["debug", "info", "warning", "error"]

MASK = "[secret]"


class Change(NamedTuple):
    """One property's change: `kind` is a DiffKind value, secrets are `MASK`, unknown values the SDK's sentinel."""

    kind: str
    old: Any
    new: Any


PropertyDiff = Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class ResourceStarted:
    """A provider operation begins; `at` is seconds since the epoch."""

    op: Op
    urn: str
    type: str
    name: str
    at: float


@dataclass(frozen=True, slots=True)
class ResourceFinished:
    """A provider operation ended, and its result is on disk; `error` is "" when `ok`."""

    op: Op
    urn: str
    ok: bool
    error: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ResourceLog:
    """One line a provider, or the program, wrote about a resource."""

    urn: str
    severity: Severity
    line: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One line about the run as a whole."""

    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class Planned:
    """The engine decided on an operation; `diff` maps property paths ("disks[0].volumeId") to changes."""

    op: Op
    urn: str
    diff: PropertyDiff


Event = ResourceStarted | ResourceFinished | ResourceLog | Diagnostic | Planned


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed; `urn` is "" for the program or the run itself."""

    urn: str
    error: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole of a run. `steps` lists (op, urn, diff) in the order decided, "same" included.

    A replacement appears as "replace" (with the diff), "create-replacement" and "delete-replaced"; default providers
    do not appear.
    """

    counts: Mapping[str, int]
    steps: tuple[tuple[Op, str, PropertyDiff], ...]
    failures: tuple[Failure, ...]
    seconds: float
    cancelled: bool = False
    outputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether any step was more than "same" (or, in a refresh, found a difference)."""
        return any(op != "same" for op, _, _ in self.steps)

    @property
    def ok(self) -> bool:
        return not self.failures and not self.cancelled
