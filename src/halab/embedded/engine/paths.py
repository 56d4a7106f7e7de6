"""Property paths: `a.b[0]["c.d"]`, and `*` for any element; reading, writing and comparing along them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from halab.embedded.provider import DiffKind, Secret

Path = tuple[str | int, ...]

ANY = "*"
MISSING = object()

_TOKEN = re.compile(
    r"""
    \["(?P<quoted>(?:[^"\\]|\\.)*)"\]
    | \[(?P<index>\d+|\*)\]
    | \.?(?P<name>[^.\[\]"]+)
    """,
    re.VERBOSE,
)


def parse(text: str) -> Path:
    """`text` as a tuple of keys and indices.

    Raises: ValueError when it is not a property path.
    """
    parts: list[str | int] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"not a property path: {text!r}")
        if (quoted := match["quoted"]) is not None:
            parts.append(re.sub(r"\\(.)", r"\1", quoted))
        elif (index := match["index"]) is not None:
            parts.append(ANY if index == ANY else int(index))
        else:
            parts.append(match["name"])
        at = match.end()
    return tuple(parts)


def render(path: Sequence[str | int]) -> str:
    """The path as Pulumi writes it; names with dots, brackets or quotes are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.search(r'[.\[\]"]', part) or not part:
            quoted = part.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{quoted}"]'
        else:
            text += f".{part}" if text else part
    return text


def covers(pattern: Path, path: Path) -> bool:
    """Whether `pattern` is an element-wise prefix of `path`; `*` matches any element."""
    return len(pattern) <= len(path) and all(a in (ANY, b) for a, b in zip(pattern, path, strict=False))


def get(value: Any, path: Path) -> Any:
    """The value at `path`, or MISSING; secrets on the way are opened."""
    for part in path:
        if isinstance(value, Secret):
            value = value.value
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part, MISSING)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return MISSING
    return value


def hides(value: Any, path: Path) -> bool:
    """Whether the value at `path` lies inside a secret."""
    for part in path:
        if isinstance(value, Secret):
            return True
        value = get(value, (part,))
    return isinstance(value, Secret)


def expand(value: Any, pattern: Path) -> Iterator[Path]:
    """Every concrete path in `value` that `pattern` names; a path with no wildcard names itself."""
    if ANY not in pattern:
        yield pattern
        return
    at = pattern.index(ANY)
    head, tail = pattern[:at], pattern[at + 1 :]
    inner = get(value, head)
    if isinstance(inner, Secret):
        inner = inner.value
    keys: Sequence[str | int]
    if isinstance(inner, dict):
        keys = list(inner)
    elif isinstance(inner, list):
        keys = range(len(inner))
    else:
        return
    for key in keys:
        yield from expand(value, (*head, key, *tail))


def put(value: Any, path: Path, item: Any) -> Any:
    """A copy of `value` with `item` at `path` (removed when `item` is MISSING); unreachable paths change nothing."""
    if not path:
        return item
    if isinstance(value, Secret):
        return Secret(put(value.value, path, item))
    part, rest = path[0], path[1:]
    if isinstance(value, dict) and isinstance(part, str):
        if part not in value and (rest or item is MISSING):
            return value
        changed = dict(value)
        inner = put(value.get(part), rest, item)
        if inner is MISSING:
            changed.pop(part, None)
        else:
            changed[part] = inner
        return changed
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        inner = put(value[part], rest, item)
        return [*value[:part], *([] if inner is MISSING else [inner]), *value[part + 1 :]]
    return value


def same(a: Any, b: Any) -> bool:
    """Deep equality that tells True from 1 and a secret from its plain value."""
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Secret) and isinstance(b, Secret):
        return same(a.value, b.value)
    return bool(a == b)


def compare(old: Any, new: Any, at: Path = ()) -> Iterator[tuple[Path, DiffKind]]:
    """The smallest paths at which two property trees differ."""
    if same(old, new):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if key not in old:
                yield (*at, key), DiffKind.ADD
            elif key not in new:
                yield (*at, key), DiffKind.DELETE
            else:
                yield from compare(old[key], new[key], (*at, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            if index >= len(old):
                yield (*at, index), DiffKind.ADD
            elif index >= len(new):
                yield (*at, index), DiffKind.DELETE
            else:
                yield from compare(old[index], new[index], (*at, index))
    else:
        yield at, DiffKind.UPDATE
