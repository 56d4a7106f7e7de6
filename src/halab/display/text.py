"""Words and consoles that all displays share."""

from __future__ import annotations

from rich.console import Console


def duration(seconds: float) -> str:
    """`3.2 s`, `48 s`, `3 min 05 s`, `1 h 02 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def console(*, error: bool = False) -> Console:
    """Wide enough for a whole line where no terminal says how wide it is (files, CI).

    Without emoji: `ocf:heartbeat:galera` is a name.
    """
    found = Console(stderr=error, highlight=False, soft_wrap=False, emoji=False)
    if found.is_terminal:
        return found
    return Console(stderr=error, highlight=False, width=140, soft_wrap=True, emoji=False)


def size(amount: int) -> str:
    """Bytes as `40 MiB`, `0.3 GiB`, `12 GiB`."""
    mib = amount / 1024**2
    if mib < 100:
        return f"{mib:.0f} MiB"
    return f"{mib / 1024:.1f} GiB" if mib < 10240 else f"{mib / 1024:.0f} GiB"
