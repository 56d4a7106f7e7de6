"""What is left after something fails, is cancelled or is killed, and that the next run goes on from there."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from halab.embedded.engine import Diagnostic, Engine, LockedError, ResourceStarted, StateError, checkpoint, journal
from halab.embedded.provider import Call, Created, Props, ProviderError
from tests.engine.harness import PASSPHRASE, STACK, Lab, ops
from tests.engine.local_command import LocalCommand


def failed(summary: Any) -> list[str]:
    return sorted(failure.urn.rpartition("::")[2] for failure in summary.failures)


def test_a_failure_skips_its_dependents_and_lets_the_rest_go_on(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b", "uses": ["a"]}, {"name": "c"}, {"name": "d", "depends_on": ["c"]})
    lab.set("fail-create-a")
    summary = lab.up()
    assert failed(summary) == ["a"]
    assert "exit status 1" in summary.failures[0].error
    assert sorted(lab.log()) == ["create a", "create c", "create d"]
    assert sorted(lab.names()) == ["c", "d"]
    lab.clear("fail-create-a")
    assert lab.good_up() == {"a": "create", "b": "create"}


def test_without_continue_on_error_the_program_stops_at_the_first_failure(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b", "depends_on": ["a"]})
    lab.good_up()
    lab.write({"name": "a", "env": {"X": "1"}}, {"name": "b", "depends_on": ["a"], "env": {"X": "1"}})
    lab.set("fail-update-a")
    summary = lab.up(continue_on_error=False)
    assert failed(summary) == ["a"]
    assert sorted(lab.names()) == ["a", "b"]
    assert "create b" in lab.log()


def test_nothing_is_deleted_when_the_program_or_a_step_fails(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b"})
    lab.good_up()
    lab.log()
    lab.write({"name": "a"}, **{"raise": "no further"})
    summary = lab.up()
    assert "no further" in summary.failures[0].error
    lab.write({"name": "c"})
    lab.set("fail-create-c")
    assert failed(lab.up()) == ["c"]
    assert lab.log() == ["create c"]
    assert sorted(lab.names()) == ["a", "b"]
    lab.clear("fail-create-c")
    assert lab.good_up() == {"a": "delete", "b": "delete", "c": "create"}


def test_a_create_that_fails_after_the_delete_is_taken_up_again(lab: Lab) -> None:
    def graph(trigger: str) -> list[dict[str, Any]]:
        return [
            {"name": "a", "triggers": [trigger], "delete_before_replace": True, "value": trigger},
            {"name": "b", "triggers_from": ["a"]},
        ]

    lab.write(*graph("1"))
    lab.good_up()
    lab.log()
    lab.write(*graph("2"))
    lab.set("fail-create-a")
    assert failed(lab.up()) == ["a"]
    assert lab.log() == ["delete b", "delete a", "create a"]
    assert {r["urn"].rpartition("::")[2] for r in lab.state()["resources"] if r.get("pendingReplacement")} == {"a", "b"}
    lab.clear("fail-create-a")
    assert lab.good_up() == {"a": "replace", "b": "replace"}
    assert lab.log() == ["create a", "create b"]
    assert not any(r.get("pendingReplacement") for r in lab.state()["resources"])


def test_what_was_to_go_down_with_another_stays_when_that_one_is_not_deleted(lab: Lab) -> None:
    def graph(trigger: str) -> list[dict[str, Any]]:
        return [
            {"name": "vm", "triggers": [trigger], "delete_before_replace": True, "value": trigger},
            {"name": "inside", "deleted_with": "vm"},
            {"name": "deeper", "deleted_with": "inside", "replace_with": ["vm"]},
            {"name": "other", "triggers_from": ["vm"]},
        ]

    lab.write(*graph("1"))
    lab.good_up()
    lab.log()
    lab.write(*graph("2"))
    lab.set("fail-delete-other")
    (failure,) = lab.up().failures
    assert failure.urn.endswith("::vm")
    assert "deleting other ahead" in failure.error
    assert not [r for r in lab.state()["resources"] if r.get("pendingReplacement")]
    lab.clear("fail-delete-other")
    lab.log()
    lab.write(*graph("1"))
    assert lab.good_up() == {}
    assert lab.log() == []
    lab.write(*graph("2"))
    assert lab.good_up() == {"vm": "replace", "inside": "replace", "deeper": "replace", "other": "replace"}
    assert sorted(lab.log()[:2]) == ["delete other", "delete vm"]


def test_what_was_deleted_ahead_and_then_dropped_just_leaves_the_state(lab: Lab) -> None:
    def first(trigger: str) -> dict[str, Any]:
        return {"name": "a", "triggers": [trigger], "delete_before_replace": True, "value": trigger}

    lab.write(first("1"), {"name": "b", "triggers_from": ["a"]})
    lab.good_up()
    lab.write(first("2"), {"name": "b", "triggers_from": ["a"]})
    lab.set("fail-create-a")
    lab.up()
    lab.clear("fail-create-a")
    lab.log()
    lab.write(first("2"))
    assert lab.good_up() == {"a": "replace", "b": "remove-pending-replace"}
    assert lab.log() == ["create a"]
    assert lab.names() == ["a"]


def test_an_old_one_that_cannot_be_deleted_waits_for_the_next_run(lab: Lab) -> None:
    lab.write({"name": "a", "triggers": ["1"]}, {"name": "b"})
    lab.good_up()
    lab.log()
    lab.write({"name": "a", "triggers": ["2"]}, {"name": "b"})
    lab.set("fail-delete-a")
    assert failed(lab.up()) == ["a"]
    assert [bool(r.get("delete")) for r in lab.state()["resources"] if r["urn"].endswith("::a")] == [False, True]
    lab.clear("fail-delete-a")
    lab.log()
    lab.good_up()
    assert lab.log() == ["delete a"]
    assert sorted(lab.names()) == ["a", "b"]


def test_a_failing_delete_keeps_what_it_depends_on(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b", "uses": ["a"]}, {"name": "c"})
    lab.good_up()
    lab.log()
    lab.set("fail-delete-b")
    summary = lab.engine().destroy()
    assert failed(summary) == ["b"]
    assert sorted(lab.log()) == ["delete b", "delete c"]
    assert lab.names() == ["a", "b"]
    lab.clear("fail-delete-b")
    assert lab.engine().destroy().ok
    assert lab.log() == ["delete b", "delete a"]


def test_a_resource_that_exists_but_failed_to_start_is_kept_and_updated_next(lab: Lab) -> None:
    lab.write({"name": "a"})
    lab.set("fail-create-a")
    lab.set("partial-a")
    assert failed(lab.up()) == ["a"]
    kept = lab.resource("a")
    assert kept["id"] == "partial"
    assert "exit status 1" in kept["initErrors"][0]
    lab.clear("fail-create-a")
    assert lab.good_up() == {"a": "update"}
    assert "initErrors" not in lab.resource("a")


def test_a_check_that_refuses_fails_only_that_resource(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b"})
    lab.good_up()
    provider_check = "create must not be empty"
    (lab.directory / "__main__.py").write_text(
        "from pulumi_command import local\nlocal.Command('a', create='')\nlocal.Command('b', create='true')\n"
    )
    summary = lab.up()
    assert failed(summary) == ["a"]
    assert provider_check in summary.failures[0].error
    assert ops(summary)["b"] == "update"


def test_the_same_name_twice_is_refused(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "a"})
    assert "registered twice" in str(lab.up().failures)


COMMAND = "import pulumi\nfrom pulumi_command import local\n"


@pytest.mark.parametrize(
    ("program", "named"),
    [
        ("pulumi.StackReference('organization/other/dev')", "StackReference"),
        ("local.Command('a', create='true', opts=pulumi.ResourceOptions(import_='x'))", "the import option"),
        ("local.run(command='true')", "command:local:run"),
        ("pulumi.runtime.register_resource_transform(lambda args: None)\nlocal.Command('a')", "stack transforms"),
        (
            "local.Command('a', opts=pulumi.ResourceOptions(transforms=[lambda args: None]))",
            "transforms, which the embedded engine does not serve",
        ),
        (
            "local.Command('a', opts=pulumi.ResourceOptions("
            "hooks=pulumi.ResourceHookBinding(after_create=[lambda args: None])))",
            "resource hooks",
        ),
        (
            "class T(pulumi.CustomResource):\n    pass\nT('gcp:x:Y', 'a', {}, pulumi.ResourceOptions())",
            "no provider for package 'gcp'",
        ),
    ],
)
def test_what_the_engine_does_not_serve_is_named(lab: Lab, program: str, named: str) -> None:
    (lab.directory / "__main__.py").write_text(f"{COMMAND}{program}\n")
    summary = lab.up()
    assert named in summary.failures[0].error
    assert lab.names() == []


def test_cancelling_lets_the_running_step_finish_and_keeps_its_state(lab: Lab) -> None:
    lab.write(
        {"name": "slow", "run": "until test -e go-on; do sleep 0.05; done; echo done"},
        {"name": "next", "depends_on": ["slow"]},
    )
    engine: Engine

    def watch(event: Any) -> None:
        if isinstance(event, ResourceStarted) and event.name == "slow":
            engine.cancel()
            lab.set("go-on")

    lab.on_event = watch
    engine = lab.engine()
    summary = engine.up()
    assert summary.cancelled
    assert not summary.ok
    assert lab.names() == ["slow"]
    lab.on_event = None
    assert lab.good_up() == {"next": "create"}


@pytest.mark.timeout(600)
def test_a_killed_engine_leaves_a_pending_operation_and_a_lock_that_is_taken_over(lab: Lab) -> None:
    lab.write({"name": "first"}, {"name": "slow", "depends_on": ["first"], "run": "sleep 600"})
    code = (
        "import sys; from pathlib import Path; from tests.engine.harness import Lab\n"
        "from halab.embedded.engine import Engine; from tests.engine.local_command import LocalCommand\n"
        "d = Path(sys.argv[1]); f = lambda: LocalCommand(d)\n"
        f"Engine(d, {STACK!r}, d / 'state', {PASSPHRASE!r}, {{'command': f}}).up()\n"
    )
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(lab.directory)],
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'src'}"},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 100
        log = lab.directory / "log"
        while not (log.exists() and "create slow" in log.read_text()):
            assert time.monotonic() < deadline, "the slow command never started"
            time.sleep(0.05)
        with pytest.raises(LockedError, match=f"pid {child.pid}"):
            lab.up()
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    (pending,) = lab.state()["pending_operations"]
    assert pending["type"] == "creating"
    assert pending["resource"]["urn"].endswith("::slow")
    lab.write({"name": "first"}, {"name": "slow", "depends_on": ["first"]})
    lab.events.clear()
    # The salt was derived with the real iteration count by the killed engine.
    assert lab_with_real_keys(lab).ok
    said = [event.text for event in lab.events if isinstance(event, Diagnostic)]
    assert any(f"lock of pid {child.pid}" in text for text in said)
    assert any("taking back" in text and "::slow" in text for text in said)
    assert (lab.directory / "taken-back").read_text() == "slow\n"
    assert lab.state()["pending_operations"] == []
    assert lab.names() == ["first", "slow"]


def test_the_locks_of_the_cli_are_respected_and_set_in_its_backend(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab("lab", state_dir="backend/.pulumi/stacks")
    marks = lab.directory / "backend" / ".pulumi" / "locks" / "organization" / "lab" / "test"
    marks.mkdir(parents=True)

    def mark(pid: int) -> None:
        (marks / "theirs.json").write_text(json.dumps({"pid": pid, "hostname": socket.gethostname()}))

    mark(os.getpid())
    with pytest.raises(LockedError, match=f"Pulumi CLI, pid {os.getpid()}"):
        lab.up()
    dead = subprocess.Popen(["true"])
    dead.wait()
    mark(dead.pid)
    seen: list[str] = []
    lab.on_event = lambda _: seen.extend(path.name for path in marks.iterdir())
    lab.write({"name": "a"})
    assert lab.up().ok
    assert f"halab-{os.getpid()}.json" in seen
    assert not marks.exists()


def test_a_second_cancel_asks_running_steps_to_give_up(lab: Lab) -> None:
    class Patient(LocalCommand):
        def create(self, type_: str, call: Call, inputs: Props, *, preview: bool) -> Created:
            engine.cancel()
            assert not call.cancelled.is_set()
            engine.cancel()
            assert call.cancelled.wait(60)
            raise ProviderError("gave up, as asked")

    lab.factory = lambda: Patient(lab.directory)
    lab.write({"name": "a"}, {"name": "b", "depends_on": ["a"]})
    engine = lab.engine()
    summary = engine.up()
    assert summary.cancelled
    assert failed(summary) == ["a"]
    assert lab.names() == []
    lab.factory = None
    assert lab.good_up() == {"a": "create", "b": "create"}


@pytest.mark.parametrize("recovers", [True, False])
@pytest.mark.parametrize("end", ["up", "destroy"])
def test_an_interrupted_create_that_nobody_wants_any_more_is_taken_back_once(
    lab: Lab, end: str, recovers: bool
) -> None:
    class Forgetful(LocalCommand):
        take_back = None  # type: ignore[assignment]

    lab.factory = lambda: (LocalCommand if recovers else Forgetful)(lab.directory)
    lab.write({"name": "a"})
    lab.good_up()
    tree = lab.engine().export()
    ghost = {**lab.resource("a"), "urn": lab.resource("a")["urn"].replace("::a", "::ghost"), "id": ""}
    tree["deployment"]["pending_operations"] = [{"resource": ghost, "type": "creating"}]
    lab.engine().import_(tree)
    assert lab.engine().export()["deployment"]["pending_operations"][0]["type"] == "creating"
    lab.events.clear()
    assert getattr(lab.engine(), end)().ok
    (said,) = [event.text for event in lab.events if isinstance(event, Diagnostic)]
    assert "::ghost" in said
    assert (lab.directory / "taken-back").exists() == recovers
    assert ("nothing here knows of it" in said) == (not recovers)
    lab.events.clear()
    assert getattr(lab.engine(), end)().ok
    assert not [event for event in lab.events if isinstance(event, Diagnostic)]


def test_a_state_that_cannot_be_written_ends_the_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write({"name": "a"})
    lab.good_up()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    lab.write({"name": "a"}, {"name": "b"})
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(StateError, match=r"cannot write .*No space left"):
            lab.up()
    assert lab.names() == ["a"]
    assert "create b" not in lab.log()
    assert lab.good_up() == {"b": "create"}


def lab_with_real_keys(lab: Lab) -> Any:
    from halab.embedded.engine import cipher

    quick, cipher.ITERATIONS = cipher.ITERATIONS, 1_000_000
    try:
        return lab.up()
    finally:
        cipher.ITERATIONS = quick


def test_every_finished_step_is_on_disk_before_it_is_reported(lab: Lab) -> None:
    from halab.embedded.engine import ResourceFinished

    missing: list[str] = []

    def watch(event: Any) -> None:
        if isinstance(event, ResourceFinished) and event.urn.rpartition("::")[2] not in (*lab.names(), "lab-test"):
            missing.append(event.urn)

    lab.on_event = watch
    lab.write(*({"name": f"n{i}"} for i in range(12)))
    lab.good_up()
    assert missing == []


def test_a_damaged_state_names_the_file_and_its_backup(lab: Lab) -> None:
    lab.write({"name": "a"})
    lab.good_up()
    lab.write({"name": "a"}, {"name": "b"})
    lab.good_up()
    file = lab.directory / "state" / "lab" / "test.json"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StateError, match=r"test\.json is damaged.*test\.json\.bak"):
        lab.up()
    os.replace(file.with_name("test.json.bak"), file)
    assert lab.good_up() == {"b": "create"}


def test_a_state_in_the_wrong_order_is_refused(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b", "uses": ["a"]})
    lab.good_up()
    tree = lab.engine().export()
    tree["deployment"]["resources"].reverse()
    with pytest.raises(StateError, match="not in the state before it"):
        lab.engine().import_(tree)
    assert lab.names() == ["a", "b"]


def test_an_import_that_does_not_fit_is_refused_and_changes_nothing(lab: Lab) -> None:
    lab.write({"name": "a"})
    lab.good_up()
    file = lab.directory / "state" / "lab" / "test.json"
    before = file.read_bytes()
    good = json.dumps(lab.engine().export())
    for wrong, why in (
        (json.loads(good.replace("urn:pulumi:test::", "urn:pulumi:prod::")), "belongs to another stack"),
        ({**json.loads(good), "version": 2}, "version 2"),
        ({"version": 3}, "no deployment"),
        (json.loads(good.replace('"passphrase"', '"awskms"')), "awskms"),
        (json.loads(good.replace('"custom": true', '"custom": false')), "has an id but is not custom"),
        ({"version": 3, "deployment": {"resources": [{"urn": "x"}]}}, "no valid urn"),
    ):
        with pytest.raises(StateError, match=why):
            lab.engine().import_(wrong)
        assert file.read_bytes() == before


def test_an_import_may_replace_a_damaged_state(lab: Lab) -> None:
    lab.write({"name": "a"})
    lab.good_up()
    exported = lab.engine().export()
    (lab.directory / "state" / "lab" / "test.json").write_text("{")
    with pytest.raises(StateError, match="is damaged"):
        lab.engine().outputs()
    lab.engine().import_(exported)
    assert lab.good_up() == {}


def test_a_dead_childs_program_reports_its_exit(lab: Lab) -> None:
    (lab.directory / "__main__.py").write_text("import os\nos._exit(7)\n")
    assert "exit code 7" in lab.up().failures[0].error
    (lab.directory / "__main__.py").write_text("import nothing_like_it\n")
    assert "nothing_like_it" in lab.up().failures[0].error


def test_refresh_takes_over_drift_and_forgets_what_is_gone(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b", "uses": ["a"]}, {"name": "c"})
    lab.good_up()
    (lab.directory / "drift-a").write_text("drifted")
    lab.set("gone-c")
    summary = lab.engine().refresh()
    assert summary.ok
    assert ops(summary) == {"a": "refresh", "c": "delete"}
    assert lab.resource("a")["outputs"]["stdout"] == "drifted"
    assert sorted(lab.names()) == ["a", "b"]
    assert not lab.engine().refresh().changed
    lab.clear("gone-c")
    assert lab.good_up(refresh=True) == {"b": "update", "c": "create"}


def test_refresh_drops_references_to_what_is_gone(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b", "depends_on": ["a"]})
    lab.good_up()
    lab.set("gone-a")
    lab.engine().refresh()
    assert "dependencies" not in lab.resource("b")
    lab.log()
    lab.engine().destroy()
    assert lab.log() == ["delete b"]


def test_what_went_with_something_that_is_gone_is_made_again_and_never_deleted(lab: Lab) -> None:
    graph = [{"name": "a"}, {"name": "b", "deleted_with": "a"}, {"name": "c", "deleted_with": "b"}, {"name": "d"}]
    lab.write(*graph)
    lab.good_up()
    lab.set("gone-a")
    lab.engine().refresh()
    assert sorted(lab.names()) == ["b", "c", "d"]
    lab.clear("gone-a")
    lab.log()
    assert lab.good_up() == {"a": "create", "b": "replace", "c": "replace"}
    assert lab.log() == ["create a", "create b", "create c"]
    lab.set("gone-a")
    lab.engine().refresh()
    lab.engine().destroy()
    assert lab.log() == ["delete d"]


def test_what_was_made_of_something_that_is_gone_is_replaced(lab: Lab) -> None:
    first: dict[str, Any] = {"delete_before_replace": True}
    lab.write(
        {"name": "disk", **first},
        {"name": "vm", "uses": ["disk"], "replace_with": ["disk"], **first},
        {"name": "other", "depends_on": ["vm"], "replace_with": ["vm", "disk"], **first},
    )
    lab.good_up()
    lab.set("gone-disk")
    lab.engine().refresh()
    lab.clear("gone-disk")
    lab.log()
    assert lab.good_up() == {"disk": "replace", "vm": "replace", "other": "replace"}
    assert lab.log() == ["delete other", "delete vm", "create disk", "create vm", "create other"]
    assert lab.good_up() == {}


@pytest.mark.parametrize("kind", ["updating", "deleting"])
def test_a_change_that_was_cut_off_is_made_again_even_when_the_program_is_what_it_was(lab: Lab, kind: str) -> None:
    lab.write({"name": "a"}, {"name": "b"})
    lab.good_up()
    tree = lab.engine().export()
    tree["deployment"]["pending_operations"] = [{"resource": lab.resource("a"), "type": kind}]
    lab.engine().import_(tree)
    lab.log()
    assert lab.good_up() == {"a": "update"}
    assert lab.log() == ["update a"]
    assert lab.good_up() == {}


def test_what_an_interrupted_delete_did_away_with_is_replaced_with_all_that_follows(lab: Lab) -> None:
    lab.write({"name": "a"}, {"name": "b", "replace_with": ["a"], "delete_before_replace": True})
    lab.good_up()
    tree = lab.engine().export()
    tree["deployment"]["pending_operations"] = [{"resource": lab.resource("a"), "type": "deleting"}]
    lab.engine().import_(tree)
    lab.set("gone-a")
    lab.engine().refresh()
    lab.clear("gone-a")
    assert lab.good_up() == {"a": "replace", "b": "replace"}


def test_a_create_of_which_nobody_knows_what_it_did_is_taken_back_first(lab: Lab) -> None:
    class Lost(LocalCommand):
        def create(self, type_: str, call: Call, inputs: Props, *, preview: bool) -> Created:
            if preview or not (lab.directory / "lost").exists():
                return super().create(type_, call, inputs, preview=preview)
            raise ProviderError("the connection is gone", uncertain=True)

    lab.factory = lambda: Lost(lab.directory)
    lab.write({"name": "a"})
    lab.set("lost")
    assert failed(lab.up()) == ["a"]
    assert not (lab.directory / "taken-back").exists()
    assert [one["type"] for one in lab.state()["pending_operations"]] == ["creating"]
    lab.clear("lost")
    assert lab.good_up() == {"a": "create"}
    assert (lab.directory / "taken-back").read_text() == "a\n"
    assert lab.state()["pending_operations"] == []


def test_no_checkpoint_has_a_result_and_the_operation_that_is_to_bring_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run would take back what is there."""
    torn: list[str] = []
    plain = checkpoint.Store.write

    def look(self: Any, sealer: Any, resources: Any, pending: Any) -> None:
        made = {one.urn for one in resources}
        torn.extend(one.urn for kind, one in pending if kind == "creating" and one.urn in made)
        plain(self, sealer, resources, pending)

    monkeypatch.setattr(checkpoint.Store, "write", look)
    end = journal.Journal.end

    def late(self: Any, key: Any, **rest: Any) -> None:
        time.sleep(0.002)
        end(self, key, **rest)

    monkeypatch.setattr(journal.Journal, "end", late)
    lab.write(*({"name": f"n{number}"} for number in range(40)))
    lab.good_up()
    assert torn == []
