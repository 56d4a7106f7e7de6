"""What the engine does with each change of a program, seen in its steps and in what the commands did."""

from __future__ import annotations

from typing import Any

import pytest

from halab.embedded.engine import Change, Planned, ResourceFinished, ResourceStarted
from tests.engine.harness import Lab, counted, ops, planned

Item = dict[str, Any]


def test_resources_are_created_in_order_kept_and_destroyed_in_reverse(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b", "uses": ["a"]}, {"name": "c", "depends_on": ["b"]}, exports=["b"])
    assert lab.good_up() == {"lab-test": "create", "a": "create", "b": "create", "c": "create"}
    assert lab.log() == ["create a", "create b", "create c"]
    again = lab.up()
    assert again.ok
    assert not again.changed
    assert again.counts == {"same": 4}
    assert again.outputs == {"b": "b"}
    assert lab.log() == []
    gone = lab.engine().destroy()
    assert gone.ok
    assert gone.counts == {"delete": 4}
    assert lab.log() == ["delete c", "delete b", "delete a"]
    assert lab.state()["resources"] == []


def test_events_tell_plan_start_and_end_of_every_operation(lab: Lab) -> None:
    lab.write({"name": "a"})
    lab.good_up()
    urn = "urn:pulumi:test::lab::command:local:Command::a"
    about = [e for e in lab.events if getattr(e, "urn", "") == urn]
    plan, start, end = about
    assert isinstance(plan, Planned)
    assert plan.op == "create"
    assert plan.diff["create"].kind == "add"
    assert isinstance(start, ResourceStarted)
    assert (start.type, start.name) == ("command:local:Command", "a")
    assert isinstance(end, ResourceFinished)
    assert end.ok
    assert end.seconds >= 0


def test_a_changed_input_updates_in_place_and_keeps_the_id(lab: Lab) -> None:
    lab.write({"name": "a", "env": {"X": "1"}})
    lab.good_up()
    before = lab.resource("a")
    lab.write({"name": "a", "env": {"X": "2"}})
    summary = lab.up()
    assert ops(summary) == {"a": "update"}
    (diff,) = (diff for op, _, diff in summary.steps if op == "update")
    assert diff == {"environment.X": Change("update", "1", "2")}
    after = lab.resource("a")
    assert after["id"] == before["id"]
    assert after["created"] == before["created"]
    assert after["modified"] > before["modified"]
    assert lab.log() == ["create a", "update a"]


@pytest.mark.parametrize(
    ("old", "new", "replaced"),
    [
        (None, ["1"], True),
        ([], ["1"], True),
        (["1"], ["2"], True),
        (["1"], None, True),
        ([{"a": {"b": 1}}], [{"a": {"b": 2}}], True),
        ([{"a": {"b": 1}}], [{"a": {"b": 1}}], False),
    ],
)
def test_triggers_replace_creating_the_new_one_first(lab: Lab, old: Any, new: Any, replaced: bool) -> None:
    def item(triggers: Any) -> Item:
        return {"name": "a"} if triggers is None else {"name": "a", "triggers": triggers}

    lab.write(item(old))
    lab.good_up()
    lab.log()
    lab.write(item(new))
    summary = lab.up()
    assert ops(summary) == ({"a": "replace"} if replaced else {})
    assert lab.log() == (["create a", "delete a"] if replaced else [])
    assert lab.names() == ["a"]


def test_delete_before_replace_takes_along_only_dependents_that_would_be_replaced(lab: Lab) -> None:
    def graph(trigger: str) -> list[Item]:
        return [
            {"name": "a", "triggers": [trigger], "delete_before_replace": True, "value": trigger},
            {"name": "by_trigger", "triggers_from": ["a"]},
            {"name": "by_env", "uses": ["a"]},
            {"name": "by_order", "depends_on": ["a"]},
            {"name": "beyond", "triggers_from": ["by_trigger"]},
        ]

    lab.write(*graph("1"))
    lab.good_up()
    lab.log()
    lab.write(*graph("2"))
    assert lab.good_up() == {"a": "replace", "by_trigger": "replace", "by_env": "update", "beyond": "replace"}
    log = lab.log()
    assert log[:4] == ["delete beyond", "delete by_trigger", "delete a", "create a"]
    assert set(log[4:]) == {"create by_trigger", "update by_env", "create beyond"}
    assert log.index("create by_trigger") < log.index("create beyond")


def test_deleted_with_spares_the_delete_and_replaces_along(lab: Lab) -> None:
    def graph(trigger: str) -> list[Item]:
        return [
            {"name": "vm", "triggers": [trigger], "delete_before_replace": True},
            {"name": "inside", "deleted_with": "vm"},
            {"name": "outside", "depends_on": ["vm"]},
        ]

    lab.write(*graph("1"))
    lab.good_up()
    lab.log()
    lab.write(*graph("2"))
    assert lab.good_up() == {"vm": "replace", "inside": "replace"}
    assert lab.log() == ["delete vm", "create vm", "create inside"]
    lab.write({"name": "outside"})
    assert lab.good_up() == {"vm": "delete", "inside": "delete"}
    assert lab.log() == ["delete vm"]
    lab.write(*graph("2"))
    lab.good_up()
    lab.log()
    lab.engine().destroy()
    assert sorted(lab.log()) == ["delete outside", "delete vm"]


def test_deleted_with_and_protect_and_retain_come_from_the_parent(lab: Lab) -> None:
    lab.write(
        {"name": "vm"},
        {"name": "group", "kind": "group", "deleted_with": "vm", "retain_on_delete": True, "protect": True},
        {"name": "child", "parent": "group"},
    )
    lab.good_up()
    child = lab.resource("child")
    assert child["deletedWith"].endswith("::vm")
    assert child["retainOnDelete"] is True
    assert child["protect"] is True


@pytest.mark.parametrize("before", [True, False])
def test_replace_with_follows_a_replacement(lab: Lab, before: bool) -> None:
    def graph(trigger: str) -> list[Item]:
        return [
            {"name": "a", "triggers": [trigger], "delete_before_replace": before},
            {"name": "b", "replace_with": ["a"]},
            {"name": "c"},
        ]

    lab.write(*graph("1"))
    lab.good_up()
    lab.log()
    lab.write(*graph("2"))
    assert lab.good_up() == {"a": "replace", "b": "replace"}
    if before:
        assert lab.log() == ["delete b", "delete a", "create a", "create b"]
    else:
        assert lab.log() == ["create a", "create b", "delete b", "delete a"]
    assert sorted(lab.names()) == ["a", "b", "c"]


def test_a_replacement_trigger_counts_only_from_one_value_to_another(lab: Lab) -> None:
    lab.write({"name": "a"})
    lab.good_up()
    lab.write({"name": "a", "replacement_trigger": "one"})
    assert lab.good_up() == {}
    lab.write({"name": "a", "secret_trigger": "one"})
    assert lab.good_up() == {}
    lab.write({"name": "a", "replacement_trigger": "two"})
    assert lab.good_up() == {"a": "replace"}
    lab.write({"name": "a"})
    assert lab.good_up() == {}


def test_an_unknown_replacement_trigger_replaces_in_the_preview(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b", "trigger_from": "a"})
    lab.good_up()
    lab.write({"name": "a", "triggers": ["x"]}, {"name": "b", "trigger_from": "a"})
    assert ops(lab.engine().preview()) == {"a": "replace", "b": "replace"}
    # The output turns out the same, so the trigger did not change after all.
    assert lab.good_up() == {"a": "replace"}


@pytest.mark.parametrize(
    ("paths", "replaced"),
    [(["environment.X"], True), (["environment"], True), (["environment.Y"], False), (["*"], True), (["stdin"], False)],
)
def test_replace_on_changes_matches_by_path_prefix(lab: Lab, paths: list[str], replaced: bool) -> None:
    lab.write({"name": "a", "env": {"X": "1", "Y": "1"}, "replace_on_changes": paths})
    lab.good_up()
    lab.write({"name": "a", "env": {"X": "2", "Y": "1"}, "replace_on_changes": paths})
    assert lab.good_up() == {"a": "replace" if replaced else "update"}


def test_ignored_changes_keep_the_old_input(lab: Lab) -> None:
    lab.write({"name": "a", "env": {"X": "1", "Y": "1"}, "ignore_changes": ["environment.X"]})
    lab.good_up()
    lab.write({"name": "a", "env": {"X": "2", "Y": "1"}, "ignore_changes": ["environment.X"]})
    assert lab.good_up() == {}
    lab.write({"name": "a", "env": {"X": "2", "Y": "2"}, "ignore_changes": ["environment.X"]})
    assert lab.good_up() == {"a": "update"}
    assert lab.resource("a")["inputs"]["environment"] == {"X": "1", "Y": "2"}


def test_what_the_program_drops_is_deleted_dependents_first(lab: Lab) -> None:
    lab.write(
        {"name": "keep"},
        {"name": "group", "kind": "group"},
        {"name": "x", "parent": "group"},
        {"name": "y", "uses": ["x"]},
    )
    lab.good_up()
    lab.log()
    lab.write({"name": "keep"})
    assert lab.good_up() == {"group": "delete", "x": "delete", "y": "delete"}
    assert lab.log() == ["delete y", "delete x"]
    assert lab.names() == ["keep"]


def test_retained_resources_leave_the_state_without_being_deleted(lab: Lab) -> None:
    lab.write({"name": "a", "retain_on_delete": True})
    lab.good_up()
    lab.log()
    lab.write()
    assert lab.good_up() == {"a": "delete"}
    assert lab.log() == []
    assert lab.names() == []


def test_protected_resources_are_neither_deleted_nor_replaced(lab: Lab) -> None:
    lab.write({"name": "a", "protect": True, "triggers": ["1"]}, {"name": "b"})
    lab.good_up()
    lab.log()
    lab.write({"name": "a", "protect": True, "triggers": ["2"]}, {"name": "b"})
    summary = lab.up()
    assert [failure.urn.rpartition("::")[2] for failure in summary.failures] == ["a"]
    assert "protected" in summary.failures[0].error
    lab.write({"name": "b"})
    assert not lab.up().ok
    destroyed = lab.engine().destroy()
    assert not destroyed.ok
    assert lab.log() == ["delete b"]
    assert lab.names() == ["a"]
    lab.write({"name": "a", "triggers": ["1"]})
    lab.good_up()
    lab.log()
    assert lab.engine().destroy().ok
    assert lab.log() == ["delete a"]


def test_a_resource_inside_a_components_inputs_keeps_its_reference(lab: Lab) -> None:
    graph: list[Item] = [
        {"name": "a"},
        {"name": "g", "kind": "group", "holds": ["a"]},
        {"name": "b", "depends_on": ["g"]},
    ]
    lab.write(*graph)
    lab.good_up()
    (held,) = lab.resource("g")["inputs"]["held"]
    assert held["urn"].endswith("::a")
    assert held["id"] == lab.resource("a")["id"]
    assert lab.good_up() == {}


def test_an_explicit_provider_and_a_providers_map_reach_the_children(lab: Lab) -> None:
    lab.write(
        {"name": "mine", "kind": "provider"},
        {"name": "direct", "provider": "mine"},
        {"name": "g", "kind": "group", "providers": "mine"},
        {"name": "child", "parent": "g"},
        {"name": "other"},
    )
    lab.good_up()
    mine = lab.resource("mine")
    reference = f"{mine['urn']}::{mine['id']}"
    assert lab.resource("direct")["provider"] == reference
    assert lab.resource("child")["provider"] == reference
    assert "::default_1_2_1::" in lab.resource("other")["provider"]
    assert lab.good_up() == {}
    lab.write({"name": "direct"}, {"name": "other"})
    changed = lab.good_up()
    assert changed == {"mine": "delete", "g": "delete", "child": "delete"}
    assert lab.resource("direct")["provider"] == lab.resource("other")["provider"]


def test_an_alias_keeps_a_renamed_resource(lab: Lab) -> None:
    lab.write({"name": "g", "kind": "group"}, {"name": "a", "parent": "g"})
    lab.good_up()
    before = lab.resource("a")["id"]
    lab.log()
    lab.write({"name": "g2", "kind": "group", "was": "g"}, {"name": "a", "parent": "g2"})
    assert lab.good_up() == {}
    assert lab.log() == []
    assert lab.resource("a")["id"] == before
    assert sorted(lab.names()) == ["a", "g2"]


def test_custom_timeouts_are_stored_in_seconds(lab: Lab) -> None:
    lab.write({"name": "a", "timeouts": {"create": "5m", "delete": "90s"}})
    lab.good_up()
    assert lab.resource("a")["customTimeouts"] == {"create": 300, "delete": 90}


def test_new_options_are_stored_although_nothing_changed(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b"})
    lab.good_up()
    lab.write({"name": "a"}, {"name": "b", "depends_on": ["a"], "retain_on_delete": True})
    assert lab.good_up() == {}
    assert lab.resource("b")["dependencies"] == [lab.resource("a")["urn"]]
    assert lab.resource("b")["retainOnDelete"] is True


def test_preview_foretells_the_ups_steps_and_touches_nothing(lab: Lab) -> None:
    def graph(n: int) -> list[Item]:
        return [
            {"name": "a", "triggers": [n], "delete_before_replace": True, "value": n},
            {"name": "b", "triggers_from": ["a"]},
            {"name": "c", "env": {"N": str(n)}},
            {"name": f"only{n}"},
            {"name": "g", "kind": "group", "holds": ["a"]},
        ]

    lab.write(*graph(1))
    first = lab.engine().preview()
    assert not (lab.directory / "state").exists()
    assert counted(first) == counted(lab.up())
    lab.log()
    lab.write(*graph(2))
    file = lab.directory / "state" / "lab" / "test.json"
    before = file.read_bytes(), sorted(file.parent.iterdir())
    preview = lab.engine().preview()
    assert (file.read_bytes(), sorted(file.parent.iterdir())) == before
    assert lab.log() == []
    assert counted(preview) == counted(lab.up())
    assert preview.changed


def test_targets_limit_what_is_created_changed_and_deleted(lab: Lab) -> None:
    lab.write({"name": "a", "env": {"X": "1"}}, {"name": "b", "env": {"X": "1"}}, {"name": "old"}, {"name": "older"})
    lab.good_up()
    lab.log()
    lab.write({"name": "a", "env": {"X": "2"}}, {"name": "b", "env": {"X": "2"}}, {"name": "new"})
    assert lab.good_up(target=["b", "**::old"]) == {"b": "update", "old": "delete"}
    assert lab.log() == ["update b", "delete old"]
    assert sorted(lab.names()) == ["a", "b", "older"]
    assert lab.good_up() == {"a": "update", "new": "create", "older": "delete"}


def test_what_is_to_be_replaced_is_though_nothing_of_it_changed(lab: Lab) -> None:
    items: list[Item] = [
        {"name": "vm", "delete_before_replace": True},
        {"name": "step", "depends_on": ["vm"], "deleted_with": "vm", "delete_before_replace": True},
        {"name": "other", "replace_with": ["vm"], "delete_before_replace": True},
        {"name": "bystander"},
    ]
    lab.write(*items)
    lab.good_up()
    lab.log()
    before = lab.resource("bystander")["id"]
    plan = lab.engine().preview(replace=["vm"])
    replaced = [urn.rpartition("::")[2] for op, urn, _ in plan.steps if op == "replace"]
    assert replaced[0] == "vm"
    assert sorted(replaced[1:]) == ["other", "step"], "neither waits for the other"
    assert lab.log() == []
    assert lab.up(replace=["vm"]).ok
    assert sorted(lab.log()) == ["create other", "create step", "create vm", "delete other", "delete vm"]
    assert lab.resource("bystander")["id"] == before
    assert not lab.up().changed


def test_a_target_that_needs_something_not_yet_made_says_so(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b", "uses": ["a"]})
    summary = lab.up(target=["b"])
    assert "not among the targets" in summary.failures[0].error
    assert lab.log() == []


def test_the_planned_order_lists_early_deletes_before_the_replacement(lab: Lab) -> None:
    def graph(trigger: str) -> list[Item]:
        return [
            {"name": "a", "triggers": [trigger], "delete_before_replace": True},
            {"name": "b", "deleted_with": "a"},
        ]

    lab.write(*graph("1"))
    lab.good_up()
    lab.events.clear()
    lab.write(*graph("2"))
    lab.good_up()
    steps = [(op, urn.rpartition("::")[2]) for op, urn in planned(lab.events) if op != "same"]
    assert steps == [
        ("delete-replaced", "b"),
        ("delete-replaced", "a"),
        ("replace", "a"),
        ("create-replacement", "a"),
        ("replace", "b"),
        ("create-replacement", "b"),
    ]
