"""The last up drawn over time: a lane per stage, a bar per step, the critical path, and the parts around the build.

The same document always gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from rich.console import Group, RenderableType
from rich.text import Text

from halab.display.model import table
from halab.display.text import duration

_LEFT, _WIDTH, _RIGHT = 110.0, 1180.0, 30.0
_ROW, _BAR, _LANE = 15.0, 12.0, 6.0
#: Pixels of a character of the bars' labels: wide enough for any sans-serif of that size.
_CHARACTER = 5.9
_TEXT_COLUMNS = 50
_COLOURS = {"step": "#93c5fd", "boot": "#c4b5fd", "critical": "#f97316", "failed": "#dc2626"}
_WORDS = {"step": "step", "boot": "VM boots", "critical": "critical path", "failed": "failed"}
_PARTS = ("#e2e8f0", "#cbd5e1")


@dataclass(frozen=True, slots=True)
class Bar:
    """One step; seconds since the first one began. `boot`: it waits until its node has booted."""

    label: str
    stage: str
    start: float
    seconds: float
    critical: bool
    boot: bool
    ok: bool

    @property
    def kind(self) -> str:
        return "failed" if not self.ok else "critical" if self.critical else "boot" if self.boot else "step"

    @property
    def short(self) -> str:
        return self.label.removeprefix(f"{self.stage}.")


def bars(times: Mapping[str, Any]) -> tuple[Bar, ...]:
    """From what RunTimes.as_json gives, by start. Raises KeyError or TypeError where it is something else."""
    critical = {one["step"] for one in times["critical_path"]}
    first = min((one["start"] for one in times["steps"]), default=0.0)
    found = (
        Bar(
            label=one["step"],
            stage=one["stage"],
            start=one["start"] - first,
            seconds=one["seconds"],
            critical=one["step"] in critical,
            boot=one["step"].startswith("machine.ready@"),
            ok=one["ok"],
        )
        for one in times["steps"]
    )
    return tuple(sorted(found, key=lambda bar: (bar.start, bar.label)))


def lanes(found: Iterable[Bar]) -> dict[str, tuple[Bar, ...]]:
    """By stage, in the order in which the stages began."""
    groups: dict[str, list[Bar]] = {}
    for bar in found:
        groups.setdefault(bar.stage, []).append(bar)
    return {stage: tuple(group) for stage, group in groups.items()}


def headline(times: Mapping[str, Any]) -> str:
    """One line; `times` is what RunTimes.as_json gives."""
    busy = times.get("busy")
    return (
        f"{len(times['steps'])} steps in {duration(times['makespan'])}, critical path {duration(times['critical'])}, "
        + (f"{times['cores']} cores busy {busy:.2f}, " if busy is not None else "")
        + f"efficiency {times['efficiency']:.2f}"
    )


def around(parts: Mapping[str, float]) -> str:
    """What an up did one after the other, the steps being its build."""
    listed = ", ".join(f"{name} {duration(seconds)}" for name, seconds in parts.items())
    return f"whole up {duration(sum(parts.values()))}: {listed}"


def ticks(seconds: float) -> Iterator[float]:
    """Twelve marks at most, at round distances, from 0."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
    step = next((one for one in steps if seconds / one <= 12), 14400)
    mark = 0
    while mark <= seconds:
        yield float(mark)
        mark += step


def _pixels(text: str) -> float:
    return len(text) * _CHARACTER + 6


@dataclass(frozen=True, slots=True)
class _Placed:
    """A bar on its row of its lane; its label stands inside it, or else to its right (left of it near the edge)."""

    bar: Bar
    row: int
    left: float
    width: float
    text: float


def _place(lane: Iterable[Bar], scale: float) -> list[_Placed]:
    """Each bar on the first row where neither it nor its label meets another."""
    rows: list[float] = []
    placed = []
    for bar in lane:
        left, width, words = bar.start * scale, max(bar.seconds * scale, 1.5), _pixels(bar.short)
        inside = words <= width
        before = not inside and left + width + words > _WIDTH
        begin, end = (left - words if before else left), (left + width + (0 if inside or before else words))
        row = next((number for number, used in enumerate(rows) if used <= begin), len(rows))
        rows[row : row + 1] = [end]
        placed.append(_Placed(bar, row, left, width, left + 3 if inside else begin + 3 if before else left + width + 3))
    return placed


def _add(parent: ET.Element, tag: str, content: str = "", **attributes: object) -> ET.Element:
    values = {
        key.rstrip("_").replace("_", "-"): f"{value:.1f}" if isinstance(value, float) else str(value)
        for key, value in attributes.items()
    }
    made = ET.SubElement(parent, tag, values)
    made.text = content or None
    return made


def svg(times: Mapping[str, Any], title: str) -> str:
    """A drawing 1320 pixels wide, as high as its lanes need."""
    found = bars(times)
    total = max((bar.start + bar.seconds for bar in found), default=0.0)
    scale = _WIDTH / max(total, 0.1)
    placed = {stage: _place(lane, scale) for stage, lane in lanes(found).items()}
    heights = {stage: (1 + max(one.row for one in lane)) * _ROW + _LANE for stage, lane in placed.items()}
    top = 96.0 if times.get("parts") else 64.0
    height = top + sum(heights.values()) + 30
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "font-family": "sans-serif", "font-size": "10"})
    width = _LEFT + _WIDTH + _RIGHT
    root.set("viewBox", f"0 0 {width:.0f} {height:.0f}")
    root.set("width", f"{width:.0f}")
    root.set("height", f"{height:.0f}")
    _add(root, "rect", width="100%", height="100%", fill="white")
    _add(root, "text", title, x=10, y=20, font_size=15, font_weight="bold")
    _add(root, "text", headline(times), x=10, y=36, font_size=11)
    _legend(root, {bar.kind for bar in found})
    if times.get("parts"):
        _parts(root, times["parts"])
    _axis(root, total, scale, top, height - 24)
    y = top
    for index, (stage, lane) in enumerate(placed.items()):
        if index % 2 == 0:
            _add(root, "rect", x=0, y=y, width=width, height=heights[stage], fill="#64748b", fill_opacity="0.07")
        _add(root, "text", stage, x=10, y=y + _BAR + 1, font_size=11, font_weight="bold")
        for one in lane:
            _bar(root, one, y + _LANE / 2 + one.row * _ROW)
        y += heights[stage]
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _bar(root: ET.Element, one: _Placed, y: float) -> None:
    bar = one.bar
    group = _add(root, "g")
    _add(group, "title", f"{bar.label}: {bar.seconds:.1f} s from {duration(bar.start)} ({_WORDS[bar.kind]})")
    _add(
        group,
        "rect",
        x=_LEFT + one.left,
        y=y,
        width=one.width,
        height=_BAR,
        rx=2,
        fill=_COLOURS[bar.kind],
        **_edge(bar),
    )
    _add(group, "text", bar.short, x=_LEFT + one.text, y=y + _BAR - 3)


def _edge(bar: Bar) -> dict[str, str]:
    """A boot on the critical path shows both."""
    return {"stroke": _COLOURS["boot"], "stroke_width": "2"} if bar.boot and bar.critical else {}


def _legend(root: ET.Element, kinds: set[str]) -> None:
    x = _LEFT + _WIDTH
    for kind in reversed([one for one in _COLOURS if one in kinds]):
        x -= _pixels(_WORDS[kind]) + 22
        _add(root, "rect", x=x, y=12, width=12.0, height=10.0, rx=2, fill=_COLOURS[kind])
        _add(root, "text", _WORDS[kind], x=x + 16, y=21)


def _parts(root: ET.Element, parts: Mapping[str, float]) -> None:
    """What the command did one after the other, the build one of them, on a scale of its own."""
    scale = _WIDTH / max(sum(parts.values()), 0.1)
    _add(root, "text", around(parts), x=_LEFT + _WIDTH, y=36, font_size=11, text_anchor="end")
    _add(root, "text", "whole up", x=10, y=60, font_size=11, font_weight="bold")
    x, free = _LEFT, 0.0
    for index, (name, seconds) in enumerate(parts.items()):
        words = f"{name} {duration(seconds)}"
        group = _add(root, "g")
        _add(group, "title", words)
        _add(group, "rect", x=x, y=48, width=seconds * scale, height=18.0, fill=_PARTS[index % 2])
        if x >= free and _pixels(words) <= seconds * scale:
            _add(group, "text", words, x=x + 4, y=61, font_size=11)
        x += seconds * scale


def _axis(root: ET.Element, total: float, scale: float, top: float, bottom: float) -> None:
    for mark in ticks(total):
        x = _LEFT + mark * scale
        _add(root, "line", x1=x, x2=x, y1=top - 6, y2=bottom, stroke="#94a3b8", stroke_width="0.5")
        for y in (top - 9, bottom + 12):
            _add(root, "text", _clock(mark), x=x, y=y, text_anchor="middle", fill="#475569")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def screen(times: Mapping[str, Any]) -> RenderableType:
    """The same as lines of text."""
    found = bars(times)
    total = max((bar.start + bar.seconds for bar in found), default=0.0) or 0.1
    shown = table("step", f"0 to {duration(total)}", "from", "seconds", "", right=("from", "seconds"))
    for stage, lane in lanes(found).items():
        for index, bar in enumerate(lane):
            begin = min(round(bar.start / total * _TEXT_COLUMNS), _TEXT_COLUMNS - 1)
            length = max(round((bar.start + bar.seconds) / total * _TEXT_COLUMNS) - begin, 1)
            name = f"{stage:<11} {bar.short}" if index == 0 else f"{'':<11} {bar.short}"
            line = Text(f"{' ' * begin}{('█' if bar.critical else '▒') * length}".ljust(_TEXT_COLUMNS))
            line.stylize("red" if not bar.ok else "yellow" if bar.critical else "cyan")
            words = [
                word for word, so in (("critical", bar.critical), ("boot", bar.boot), ("failed", not bar.ok)) if so
            ]
            shown.add_row(name, line, duration(bar.start), f"{bar.seconds:.1f}", ", ".join(words))
    parts = times.get("parts")
    return Group(headline(times), *([around(parts)] if parts else []), "", shown)
