"""The mistakes of a stack file as rows."""

from __future__ import annotations

import json

from rich.console import Console
from rich.text import Text

from components.variant import StackError
from halab.display.model import table
from halab.display.text import console, counted


def show(stack: str, error: StackError, *, as_json: bool) -> None:
    """The same rows as of a stack that can be, every one of them failed."""
    rows = [
        {
            "about": "file",
            "name": problem.key or error.source,
            "verdict": "fail",
            "seen": problem.value,
            "mend": problem.rule,
            "line": problem.line,
        }
        for problem in error.found
    ]
    if as_json:
        print(json.dumps({"ok": False, "stack": stack, "checks": rows}, indent=1))
        return
    _print(console(), error, rows)


def _print(out: Console, error: StackError, rows: list[dict[str, object]]) -> None:
    out.print(Text(error.source, style="bold underline"))
    made = table("line", "key", "", "seen", "to mend it", right=("line",))
    for row in rows:
        verdict = Text("fail", style="bold red")
        made.add_row(
            str(row["line"] or ""), Text(str(row["name"])), verdict, Text(str(row["seen"])), Text(str(row["mend"]))
        )
    out.print(made)
    out.print(f"\n{counted(len(rows), 'mistake')}; nothing else was looked at")
