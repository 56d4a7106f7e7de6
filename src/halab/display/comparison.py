"""The comparison of the architectures: as a table on the screen, as Markdown, as HTML, and as a chart in SVG."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from rich.console import Group, RenderableType
from rich.text import Text

from halab.display.model import table
from halab.display.text import duration
from halab.fault.comparison import Cell, Comparison, Cost, Row, baseline, dates, machines, mixed, reason

TITLE = "The architectures compared"
INTRODUCTION = (
    "Seconds of the longest outage that a client noticed (ping, api, token, database), or until the cluster was as "
    "before (well): the worst of all runs. Beside it the goal; a ✗ is one that was missed."
)
EMULATED = (
    "Guests of this machine are emulated: a CPU second of theirs takes ten to twenty of a real one. Goals are for real "
    "machines; what was missed here is given as it was measured."
)
_LEFT, _WIDTH, _RIGHT, _TOP = 190.0, 640.0, 90.0, 56.0
_BAR, _GAP, _LABEL = 9.0, 14.0, 50.0
_COLOURS = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777", "#475569", "#0891b2", "#65a30d")
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1e293b}
table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #cbd5e1;padding:.25rem .6rem;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}td.missed{background:#fee2e2}td.met{background:#dcfce7}
td.none{color:#64748b}svg{max-width:100%;height:auto}"""


def words(cell: Cell) -> str:
    """`12.3 s (≤ 30)`, `48 s ✗ (≤ 30)`, `not run`."""
    if not cell.runs:
        return cell.note
    seconds = "did not come back" if cell.seconds is None else duration(cell.seconds)
    goal = f" (≤ {cell.goal:.0f})" if cell.goal is not None else ""
    return f"{seconds}{' ✗' if cell.missed else ''}{goal}" + (f" of {cell.runs}" if cell.runs > 1 else "")


def screen(comparison: Comparison) -> RenderableType:
    faults = table("fault", "measure", *comparison.stacks)
    for row, first in _rows(comparison):
        cells = [
            Text(words(cell), style="dim" if not cell.runs else "red" if cell.missed else "green" if cell.goal else "")
            for cell in row.cells
        ]
        faults.add_row(row.fault if first else "", row.measure, *cells)
    costs = table("up", *comparison.stacks)
    for name, values in _costs(comparison):
        costs.add_row(name, *values)
    return Group(faults, "", costs, "", *(Text(line) for line in _notes(comparison)))


def markdown(comparison: Comparison) -> str:
    stacks = comparison.stacks
    lines = [f"# {TITLE}", "", INTRODUCTION, ""]
    lines += _table(
        ("fault", "measure", *stacks),
        (
            (row.fault if first else "", row.measure, *(words(cell) for cell in row.cells))
            for row, first in _rows(comparison)
        ),
    )
    lines += ["", "![chart](comparison.svg)", "", "## What an up takes", ""]
    lines += _table(("", *stacks), ((name, *values) for name, values in _costs(comparison)))
    lines += ["", "## Where this is from", "", *(f"- {line}" for line in _notes(comparison)), ""]
    lines += ["Written by `./halab compare --write`; what each fault does is in [faults.md](faults.md).", ""]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), line(["---"] * len(head)), *(line(row) for row in rows)]


def page(comparison: Comparison) -> str:
    """One HTML file that needs no other."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("fault", "measure", *comparison.stacks))
    rows = "".join(
        f"<tr><th>{row.fault if first else ''}</th><td>{row.measure}</td>{''.join(map(_td, row.cells))}</tr>\n"
        for row, first in _rows(comparison)
    )
    stacks = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *comparison.stacks))
    costs = "".join(
        f"<tr><th>{name}</th>{''.join(f'<td>{html.escape(value)}</td>' for value in values)}</tr>\n"
        for name, values in _costs(comparison)
    )
    notes = "".join(f"<li>{html.escape(line)}</li>\n" for line in _notes(comparison))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>\n'
        f"<style>{_STYLE}</style></head><body>\n<h1>{TITLE}</h1>\n<p>{html.escape(INTRODUCTION)}</p>\n"
        f"<table><tr>{head}</tr>\n{rows}</table>\n{chart(comparison)}\n<h2>What an up takes</h2>\n"
        f"<table><tr>{stacks}</tr>\n{costs}</table>\n<h2>Where this is from</h2>\n<ul>\n{notes}</ul>\n</body></html>\n"
    )


def _td(cell: Cell) -> str:
    kind = "none" if not cell.runs else "n missed" if cell.missed else "n met" if cell.goal is not None else "n"
    title = f' title="{html.escape(cell.note)}"' if cell.runs and cell.note else ""
    return f'<td class="{kind}"{title}>{html.escape(words(cell))}</td>'


def chart(comparison: Comparison) -> str:
    """A bar per fault, probe and stack that was measured; a line where the goal is. Minutes until a cluster is itself
    again would hide seconds of outage: they are in the tables. The same comparison gives the same bytes."""
    rows = [row for row in comparison.rows if row.measure != "well" and any(cell.runs for cell in row.cells)]
    seconds = [cell.seconds for row in rows for cell in row.cells if cell.seconds is not None]
    most = max([*seconds, *(cell.goal for row in rows for cell in row.cells if cell.goal and cell.runs), 1.0])
    scale = _WIDTH / most
    height = _TOP + sum(_height(row) for row in rows) + 24
    svg = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_LEFT + _WIDTH + _RIGHT:.0f} {height:.0f}",
            "font-family": "sans-serif",
            "font-size": "11",
        },
    )
    _text(svg, 8, 18, "Longest outage, seconds; the dark line is the goal", **{"font-size": "14"})
    for index, name in enumerate(comparison.stacks):
        left = 8 + index * 110
        _rect(svg, left, 28, 10, 10, _colour(index))
        _text(svg, left + 14, 37, name)
    top = _TOP
    for row in rows:
        _text(svg, 8, top + _BAR, f"{row.fault}: {row.measure}")
        for index, cell in enumerate(row.cells):
            if cell.runs:
                _bar(svg, cell, index, top, scale)
                top += _BAR + 2
        top += _GAP
    return ET.tostring(svg, encoding="unicode")


def _height(row: Row) -> float:
    return sum(bool(cell.runs) for cell in row.cells) * (_BAR + 2) + _GAP


def _bar(svg: ET.Element, cell: Cell, index: int, top: float, scale: float) -> None:
    width = _WIDTH if cell.seconds is None else max(cell.seconds * scale, 1.0)
    _rect(svg, _LEFT, top, width, _BAR, _colour(index))
    after = width
    if cell.goal is not None:
        goal = cell.goal * scale
        _rect(svg, _LEFT + goal - 1, top - 1, 2, _BAR + 2, "#0f172a")
        after = max(width, goal) if goal < width + _LABEL else width
    label = "did not come back" if cell.seconds is None else duration(cell.seconds)
    _text(svg, _LEFT + after + 4, top + _BAR - 1, label, **{"font-size": "9"})


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _rect(svg: ET.Element, x: float, y: float, width: float, height: float, fill: str) -> None:
    values = {"x": x, "y": y, "width": width, "height": height}
    ET.SubElement(svg, "rect", {**{key: f"{value:.1f}" for key, value in values.items()}, "fill": fill})


def _text(svg: ET.Element, x: float, y: float, text: str, **more: str) -> None:
    ET.SubElement(svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", **more}).text = text


def _rows(comparison: Comparison) -> Iterator[tuple[Row, bool]]:
    """Each row of a fault that a stack has gone through, and whether it is the first of its fault."""
    before, left_out = "", comparison.left_out
    for row in comparison.rows:
        if row.fault not in left_out:
            yield row, row.fault != before
            before = row.fault


def _costs(comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    def each(value: object) -> str:
        return "" if value is None else str(value)

    costs: Sequence[Cost] = comparison.costs
    yield "VMs", [each(cost.vms) for cost in costs]
    yield "memory", [f"{cost.memory / 1024:.1f} GiB" for cost in costs]
    yield "steps", [each(cost.steps) for cost in costs]
    yield "makespan", ["not run" if cost.seconds is None else duration(cost.seconds) for cost in costs]
    yield "critical path", ["" if cost.critical is None else duration(cost.critical) for cost in costs]
    yield "efficiency", ["" if cost.efficiency is None else f"{cost.efficiency:.2f}" for cost in costs]
    yield "built", [cost.built for cost in costs]
    days = ([run for run in comparison.runs if run.stack == stack] for stack in comparison.stacks)
    yield "faults run", [f"{len(runs)}, {dates(runs)}" if runs else "none" for runs in days]
    name, base = baseline(comparison)
    yield f"beside {name}", [reason(cost, base) for cost in costs]


def _notes(comparison: Comparison) -> Iterator[str]:
    if not comparison.runs:
        yield "no run yet: ./halab fault run NAME, or ./halab compare --run"
        yield from machines(comparison)
        return
    lost = sum(result.lost for result in comparison.runs)
    written = sum(result.acknowledged for result in comparison.runs)
    yield f"{len(comparison.runs)} runs, {dates(comparison.runs)}; {written} writes confirmed, {lost} lost"
    if comparison.left_out:
        yield f"faults that none of these has gone through: {', '.join(comparison.left_out)}"
    yield from machines(comparison)
    yield from mixed(comparison)
    limits = sorted({result.probe_limit for result in comparison.runs})
    yield f"a question not answered within {' or '.join(f'{limit:.0f}' for limit in limits)} s has failed"
    if any(result.accelerator == "qemu" for result in comparison.runs):
        yield EMULATED
    halab = dict.fromkeys(result.versions.get("halab", "") for result in comparison.runs)
    yield f"halab {', '.join(filter(None, halab)) or 'outside a checkout'}"
    for result in comparison.failed:
        yield f"{result.stack}, {result.fault}, {result.began}: {result.problem}"
