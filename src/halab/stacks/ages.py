"""How old a stack is, and which are old enough to go. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from halab.errors import RefusedError

_AGE = re.compile(r"([0-9]+)([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def older_than(text: str) -> int:
    """Seconds of the option --older-than, an age like 90m, 12h, 7d, 2w. Raises RefusedError for anything else."""
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise RefusedError(f"--older-than: {text!r}: an age like 90m, 12h, 7d or 2w is needed")
    return int(found[1]) * _SECONDS[found[2]]


def told(seconds: float | None) -> str:
    """`12 min`, `5 h`, `3 d 4 h`; a dash where it is not known."""
    if seconds is None:
        return "-"
    minutes, hours, days = (int(seconds // unit) for unit in (60, 3600, 86400))
    if days:
        return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"
    return f"{hours} h" if hours else f"{minutes} min"


def since(begun: str, now: datetime) -> float | None:
    """Seconds between a record's time (UTC, ISO 8601) and `now`, at least 0; None where it is no time."""
    try:
        at = datetime.fromisoformat(begun)
    except ValueError:
        return None
    return max(0.0, (now - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds())


@dataclass(frozen=True, slots=True)
class Aged:
    """What pruning asks of a stack. `age` in seconds, None where not known; `file`: a developer's own is there."""

    name: str
    age: float | None
    is_down: bool
    busy: bool
    file: bool


def choose(stacks: Iterable[Aged], limit: float, *, files: bool) -> list[str]:
    """The names of those to take down: older than `limit` seconds, oldest first, nothing that a command is changing.

    With `files` also those of which only a developer's own file is left, as old.
    """
    old = [one for one in stacks if one.age is not None and one.age > limit and not one.busy]
    chosen = [one for one in old if not one.is_down or (files and one.file)]
    return [one.name for one in sorted(chosen, key=lambda one: (-(one.age or 0), one.name))]
