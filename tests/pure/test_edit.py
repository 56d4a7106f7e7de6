"""Values put into YAML: the rest of the text, comments too, stays."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from halab.stacks.edit import EditError, put
from tests.pure.conftest import PROJECT, STACKS

ODD = """\
a: 1 # one
b:
  c: 2 # two
  # between

# before d
d: {e: [1,
  2], f: x} # three
g: # of g
  - 1
  - 2
h: >
  text
  more
i: {}
"""
TEXTS = [ODD, *((PROJECT / "stacks" / f"Pulumi.{name}.yaml").read_text() for name in STACKS)]
VALUES = [5, "x y", [1, "a"], {"q": {"r": 1}}, "10.0.0.0/22", None, True, "a: b, c}"]


def paths(tree: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield (*above, key)
            yield from paths(value, (*above, key))


def with_value(tree: Any, path: tuple[str, ...], value: Any) -> Any:
    made = copy.deepcopy(tree)
    inner = made
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    return made


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("value", VALUES)
def test_any_value_anywhere_is_there_and_nothing_else_has_changed(text: str, value: Any) -> None:
    tree = yaml.safe_load(text)
    for path in paths(tree):
        assert yaml.safe_load(put(text, path, value)) == with_value(tree, path, value), path


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("new", [("new",), ("new", "deep")])
def test_a_key_that_is_new_costs_no_comment_and_no_line(text: str, new: tuple[str, ...]) -> None:
    tree = yaml.safe_load(text)
    mappings = [path for path in paths(tree) if isinstance(_at(tree, path), dict)]
    for path in mappings:
        made = put(text, (*path, *new), "v")
        assert yaml.safe_load(made) == with_value(tree, (*path, *new), "v")
        assert re.findall("#.*", made) == re.findall("#.*", text)
        assert len(set(text.splitlines()) - set(made.splitlines())) <= 1


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def test_what_is_no_mapping_takes_no_keys() -> None:
    with pytest.raises(EditError, match=r"^a: is no mapping of keys, so it has no 'b'$"):
        put(ODD, ("a", "b"), 1)
