"""The table of a bench."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from halab.bench.figures import Figure, Result, ratio
from halab.display.model import table
from halab.display.text import counted


def screen(results: Iterable[Result], machine: Mapping[str, Any]) -> RenderableType:
    """Each figure, below it what it is compared with; then the notes and the machine."""
    found = tuple(results)
    shown = table("bench", "what", "median", "lowest", "highest", "", right=("median", "lowest", "highest"))
    for result in found:
        shown.add_row(Text(result.name, style="bold"), result.figure.what, *_numbers(result.figure), "")
        for baseline in result.baselines:
            factor = ratio(baseline, result.figure)
            shown.add_row(
                "", f"beside: {baseline.what}", *_numbers(baseline), f"{factor:.2f} times as long" if factor else ""
            )
    notes = [Text(f"{result.name}: {note}") for result in found for note in result.notes]
    host = (
        f"on {counted(machine['cores'], 'core')} ({machine['cpu']}), {machine['memory_mib']} MiB, "
        f"{machine['virtualization']}, QEMU {machine['qemu'] or 'none'}; load before: {machine['load']:.2f}"
    )
    return Group(shown, "", *notes, Text(host))


def _numbers(figure: Figure) -> tuple[str, str, str]:
    low, high = min(figure.seconds), max(figure.seconds)
    shown = _seconds(figure.median) + ("" if figure.measured else " (computed)")
    return (shown, _seconds(low), _seconds(high)) if len(figure.seconds) > 1 else (shown, "", "")


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"
