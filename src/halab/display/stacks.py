"""The table of stacks."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.text import Text

from halab.display.model import table
from halab.display.text import size
from halab.stacks import ages
from halab.stacks.known import Condition
from halab.stacks.survey import Row

_STYLES = {
    Condition.VERIFIED: "green",
    Condition.UP: "green",
    Condition.BUSY: "yellow",
    Condition.STOPPED: "yellow",
    Condition.INTERRUPTED: "bold red",
    Condition.DOWN: "dim",
}


def stacks(rows: Iterable[Row], state: str) -> RenderableType:
    """`state`: the folder whose stacks need no saying where they are."""
    made = table(
        "stack",
        "variant",
        "state",
        "owner",
        "age",
        "VMs",
        "RAM",
        "disk",
        "hypervisor",
        "",
        right=("VMs", "RAM", "disk"),
    )
    for row in rows:
        up = row.condition is not Condition.DOWN
        made.add_row(
            row.name,
            row.variant or "?",
            Text(row.condition, style=_STYLES[row.condition]),
            row.owner or "-",
            ages.told(row.age) if up else "-",
            f"{row.running}/{'?' if row.defined is None else row.defined}" if up else "-",
            size(row.memory) if row.memory else "-",
            size(row.disk) if row.disk else "-",
            row.hypervisor or "-",
            _remark(row, state),
        )
    return made


def _remark(row: Row, state: str) -> str:
    if row.state != state:
        return f"in {row.state}"
    return "" if row.file else "its file is gone"
