"""A preview's steps in words, property by property; long texts (scripts, the CIB) as unified diffs."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.text import Text

from halab.embedded.engine.events import Change
from halab.embedded.provider import UNKNOWN
from halab.labels import label, type_of

Steps = Iterable[tuple[str, str, Mapping[str, Change]]]

_SIGN = {"create": ("+", "green"), "update": ("~", "yellow"), "replace": ("±", "magenta"), "delete": ("-", "red")}
#: The halves of a replacement, which the line "replace" already tells.
_HALVES = frozenset({"create-replacement", "delete-replaced", "remove-pending-replace"})


def counts(steps: Steps) -> Counter[str]:
    """Operations by name, a replacement counted once; stack and components left out."""
    return Counter(
        op for op, urn, _ in steps if op not in _HALVES and type_of(urn).startswith(("libvirt:", "command:"))
    )


def changed(steps: Steps) -> Iterator[Text]:
    """One line per changed resource, then its changed properties; a creation is one line."""
    for op, urn, diff in steps:
        if op not in _SIGN or not type_of(urn).startswith(("libvirt:", "command:")):
            continue
        sign, style = _SIGN[op]
        yield Text.assemble((f"{sign} {op:<8}", style), label(urn))
        if op in ("update", "replace"):
            for path, change in diff.items():
                yield from _property(path, change)


def _property(path: str, change: Change) -> Iterator[Text]:
    old, new = _text(change.old), _text(change.new)
    if "\n" not in old + new:
        yield Text(f"    {path}: {_short(old)} → {_short(new)}")
        return
    yield Text(f"    {path}:")
    for line in difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=2):
        if line.startswith(("---", "+++")):
            continue
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim")
        yield Text(f"      {line}", style=style)


def _text(value: Any) -> str:
    if value == UNKNOWN:
        return "(known after up)"
    if value is None:
        return "(none)"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}…"
