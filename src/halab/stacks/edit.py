"""Changing one value in a YAML text and leaving the rest of it, comments too, as it is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml


class EditError(ValueError):
    """The value cannot be put there; the message says where it stops."""


def put(text: str, path: Sequence[str], value: Any) -> str:
    """`text`, a YAML document of mappings, with `value` at `path`; mappings on the way that are missing are made.

    Raises EditError where something on the way is no mapping.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, key in enumerate(path):
        if not isinstance(node, yaml.MappingNode):
            raise EditError(f"{'.'.join(path[:depth])}: is no mapping of keys, so it has no {key!r}")
        found = next((child for name, child in node.value if name.value == key), None)
        if found is None:
            for missing in reversed(path[depth + 1 :]):
                value = {missing: value}
            return _insert(text, node, f"{key}: {_flow(value)}")
        node = found
    assert node is not None, "a path has at least one key"
    begin, end = node.start_mark.index, node.end_mark.index
    kept = text[begin:end]
    # A block's end mark is the start of what follows it.
    tail = kept[len(kept.rstrip()) :] if not (isinstance(node, yaml.CollectionNode) and node.flow_style) else ""
    space = "" if text[begin - 1].isspace() else " "
    return text[:begin] + space + _flow(value) + tail + text[end:]


def _insert(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """A last entry for the mapping."""
    if mapping.flow_style:
        at = mapping.end_mark.index - 1
        before = text[:at].rstrip() if mapping.value else text[:at]
        return f"{before}{', ' if mapping.value else ''}{entry}{text[at:]}"
    last = mapping.value[-1][1].end_mark.index
    at = len(text[:last].rstrip())
    line_end = text.find("\n", at)
    at = len(text) if line_end < 0 else line_end
    indent = " " * mapping.value[0][0].start_mark.column
    return f"{text[:at]}\n{indent}{entry}{text[at:] or chr(10)}"


def _flow(value: Any) -> str:
    """On one line, as it may stand in another flow."""
    line = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return line.removesuffix("\n...\n").rstrip("\n")
