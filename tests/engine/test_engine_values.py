"""The wire and state forms of values, property paths, and the order of a state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format  # type: ignore[import-untyped]

from halab.embedded.engine import StateError, UnsupportedError, paths, state, values
from halab.embedded.engine.paths import compare, covers, parse, render
from halab.embedded.engine.references import check_integrity, in_order
from halab.embedded.engine.state import Resource
from halab.embedded.engine.values import Ref
from halab.embedded.provider import UNKNOWN, Archive, Asset, DiffKind, Secret

SIG = values.SIG
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

# What Pulumi's Python SDK 3.272 puts on the wire, and what it stands for.
WIRE: dict[str, tuple[Any, Any]] = {
    "number": (5.0, 5),
    "fraction": (0.5, 0.5),
    "flag": (True, True),
    "unknown": ("04da6b54-80e4-46f7-96ec-b56ff0331ba9", UNKNOWN),
    "secret": ({SIG: "1b47061264138c4ac30d75fd1eb44270", "value": {"host": "h"}}, Secret({"host": "h"})),
    "unknown secret": (
        {SIG: "1b47061264138c4ac30d75fd1eb44270", "value": "04da6b54-80e4-46f7-96ec-b56ff0331ba9"},
        Secret(UNKNOWN),
    ),
    "reference": ({SIG: "5cf8f73096256a8f31e491e813e4eb8e", "urn": "u", "id": "i"}, Ref("u", "i")),
    "text asset": (
        {SIG: "c44067f5952c0a294b673a41bacd8c17", "text": "hello", "hash": HELLO},
        Asset(HELLO, text="hello"),
    ),
    "file asset": (
        {SIG: "c44067f5952c0a294b673a41bacd8c17", "path": "f", "hash": HELLO},
        Asset(HELLO, path="f"),
    ),
    "archive": (
        {
            SIG: "0def7320c3a5731c473e5ecbe6d01bc7",
            "hash": "h",
            "assets": {"a": {SIG: "c44067f5952c0a294b673a41bacd8c17", "text": "hello", "hash": HELLO}},
        },
        Archive("h", assets={"a": Asset(HELLO, text="hello")}),
    ),
    "tree": ([{"a": [1.0, "x"]}, []], [{"a": [1, "x"]}, []]),
}


@pytest.mark.parametrize("name", WIRE)
def test_wire_values_are_read_and_written_as_the_sdk_does(name: str, tmp_path: Path) -> None:
    wire, value = WIRE[name]
    message = json_format.ParseDict({"v": wire}, values.encode({}))
    assert values.decode(message, tmp_path) == {"v": value}
    assert json_format.MessageToDict(values.encode({"v": value})) == {"v": wire}


def test_an_assets_hash_comes_from_its_content(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello")
    bare = {SIG: "c44067f5952c0a294b673a41bacd8c17", "path": "f"}
    message = json_format.ParseDict({"v": bare, "none": None}, values.encode({}))
    assert values.decode(message, tmp_path) == {"v": Asset(HELLO, path="f")}


def test_unknown_markers_and_remote_assets_are_refused(tmp_path: Path) -> None:
    for odd in ({SIG: "something"}, {SIG: "c44067f5952c0a294b673a41bacd8c17", "uri": "http://x"}):
        with pytest.raises(UnsupportedError):
            values.decode(json_format.ParseDict({"v": odd}, values.encode({})), tmp_path)


def test_state_values_survive_a_round_trip_with_secrets_closed(tmp_path: Path) -> None:
    tree = {name: value for name, (_, value) in WIRE.items()}
    stored = values.to_state(tree, lambda text: {"ciphertext": f"v1:{text[::-1]}"})
    assert stored["secret"] == {SIG: "1b47061264138c4ac30d75fd1eb44270", "ciphertext": 'v1:}"h":"tsoh"{'}
    assert stored["reference"]["packageVersion"] == ""
    assert values.from_state(stored, tmp_path, lambda text: text[:2:-1]) == tree


def test_what_a_provider_returns_keeps_the_inputs_secrets_and_references() -> None:
    inputs = {"c": Secret({"host": "h"}), "e": {"K": Secret("s"), "L": "l"}, "r": Ref("u", "i"), "l": [Secret("x")]}
    plain = values.for_provider(inputs, Path("/"))
    assert plain == {"c": {"host": "h"}, "e": {"K": "s", "L": "l"}, "r": "i", "l": ["x"]}
    returned = {**plain, "stdout": "out", "l": ["x", "y"]}
    assert values.restore(returned, inputs) == {**inputs, "stdout": "out", "l": Secret(["x", "y"])}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.b[0].c", ("a", "b", 0, "c")),
        ('a["x.y"][*]', ("a", "x.y", "*")),
        ('["a[0]"].b', ("a[0]", "b")),
        ("*", ("*",)),
        ("#initerror", ("#initerror",)),
    ],
)
def test_property_paths_are_parsed(text: str, path: tuple[Any, ...]) -> None:
    assert parse(text) == path
    if "*" not in path:
        assert parse(render(path)) == path


def test_a_pattern_covers_what_lies_below_it_only() -> None:
    assert covers(parse("triggers[*]"), parse("triggers[0].x"))
    assert not covers(parse("triggers[*]"), parse("triggers"))
    assert covers(parse("*"), parse("anything.at.all"))
    assert not covers(parse("a.b"), parse("a"))


def test_differences_are_found_at_the_smallest_paths() -> None:
    old = {"a": [1, 2], "b": {"c": True}, "gone": 1, "s": "plain"}
    new = {"a": [1, 3, 4], "b": {"c": 1}, "new": 1, "s": Secret("plain")}
    assert {render(path): kind for path, kind in compare(old, new)} == {
        "a[1]": DiffKind.UPDATE,
        "a[2]": DiffKind.ADD,
        "b.c": DiffKind.UPDATE,
        "gone": DiffKind.DELETE,
        "new": DiffKind.ADD,
        "s": DiffKind.UPDATE,
    }


def test_a_path_is_replaced_removed_and_expanded() -> None:
    tree = {"a": [{"b": 1}, {"b": 2}]}
    assert paths.put(tree, parse("a[1].b"), 3) == {"a": [{"b": 1}, {"b": 3}]}
    assert paths.put(tree, parse("a[0].b"), paths.MISSING) == {"a": [{}, {"b": 2}]}
    assert paths.put(tree, parse("x.y"), 1) == tree
    assert list(paths.expand(tree, parse("a[*].b"))) == [("a", 0, "b"), ("a", 1, "b")]


def test_urns_carry_the_chain_of_types() -> None:
    stack = state.make_urn("s", "p", "", state.STACK_TYPE, "p-s")
    group = state.make_urn("s", "p", stack, "t:g:G", "g")
    child = state.make_urn("s", "p", group, "c:l:C", "odd::name")
    assert child == "urn:pulumi:s::p::t:g:G$c:l:C::odd::name"
    assert (state.urn_name(child), state.urn_type(child)) == ("odd::name", "c:l:C")


def test_durations_are_those_of_go() -> None:
    assert state.seconds("1h30m") == 5400
    assert state.seconds("1.5s") == 1.5
    for wrong in ("", "5", "m", "5 m"):
        with pytest.raises(ValueError, match="not a duration"):
            state.seconds(wrong)


def test_an_integral_order_is_found_whatever_order_comes_in() -> None:
    def urn(name: str) -> str:
        return f"urn:pulumi:s::p::t:t:T::{name}"

    chain = [Resource(urn(f"n{i}"), "t:t:T", False, dependencies=(urn(f"n{i - 1}"),) * (i > 0)) for i in range(5)]
    old = Resource(urn("n0"), "t:t:T", False, dependencies=(urn("n4"),), delete=True)
    mixed = [old, *reversed(chain)]
    with pytest.raises(StateError):
        check_integrity(mixed)
    ordered = in_order(mixed)
    check_integrity(ordered)
    assert len(ordered) == len(mixed)
