"""Stack files: what is right is read, what is wrong is named with key, value and rule, all of it at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.variant import StackError, Timers, load, parse

PROJECT = Path(__file__).resolve().parents[2]
MISTAKES = sorted((Path(__file__).parent / "fixtures" / "stacks").glob("*.yaml"))


def changed(tree: Any, change: Any) -> Any:
    """`tree` with `change` laid over it; a None takes a key away."""
    if not (isinstance(tree, dict) and isinstance(change, dict)):
        return change
    merged = {**tree, **{key: changed(tree.get(key), value) for key, value in change.items()}}
    return {key: value for key, value in merged.items() if value is not None}


def described(change: Any) -> Any:
    document = yaml.safe_load((PROJECT / "stacks" / "Pulumi.collapsed.yaml").read_text())
    return changed(document["config"]["halab:stack"], change)


@pytest.mark.parametrize("path", MISTAKES, ids=lambda path: path.stem)
def test_a_mistake_is_named_with_key_value_and_rule(path: Path) -> None:
    fixture = yaml.safe_load(path.read_text())
    with pytest.raises(StackError) as caught:
        parse("bad", described(fixture["change"]), "stacks/Pulumi.bad.yaml")
    assert any(problem.startswith(fixture["expect"]) for problem in caught.value.problems), caught.value.problems
    assert all(line.startswith("stacks/Pulumi.bad.yaml: ") for line in str(caught.value).splitlines())


def test_mistakes_that_share_no_key_are_reported_together() -> None:
    change = {"variant": "x", "roles": {"compute": {"count": 0, "disk": "big"}}, "timers": {"token": 1}, "typo": 1}
    with pytest.raises(StackError) as caught:
        parse("bad", described(change))
    keys = [problem.partition(":")[0] for problem in caught.value.problems]
    assert sorted(keys) == ["roles.compute.count", "roles.compute.disk", "timers.token", "typo", "variant"]


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a_b", "../x", "a" * 31])
def test_a_stack_name_must_fit_into_host_names(name: str) -> None:
    with pytest.raises(StackError, match="a name of a-z"):
        parse(name, described({}))


@pytest.mark.parametrize("name", [path.stem.removeprefix("Pulumi.") for path in (PROJECT / "stacks").glob("*.yaml")])
def test_every_stack_file_is_right(name: str) -> None:
    stack = load(PROJECT, name)
    assert stack.name == name
    assert stack.variant == name


def test_an_absent_stack_names_those_there_are() -> None:
    with pytest.raises(StackError, match=r"--stack: 'nope': no file stacks/Pulumi.nope.yaml; there are: .*collapsed"):
        load(PROJECT, "nope")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("config: [", "not YAML"),
        ("config: {}", "the key 'halab:stack'"),
        ("", "the key 'halab:stack'"),
        ("config: {'halab:stack': }", "one of collapsed"),
    ],
)
def test_a_file_that_describes_no_stack_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "Pulumi.mine.yaml").write_text(text)
    with pytest.raises(StackError, match=complaint):
        load(tmp_path, "mine")


def test_a_value_that_is_given_is_taken() -> None:
    stack = parse("mine", described({"timers": {"token": 5000}, "roles": {"compute": {"count": 7}}}))
    assert stack.timers == Timers(token=5000)
    assert [role.count for role in stack.roles if role.role == "compute"] == [7]
