"""The same programs through the Pulumi CLI and through the embedded engine: equal steps, effects and states."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from halab.embedded.engine import Event, LockedError, ResourceStarted
from halab.embedded.engine.cipher import Cipher
from halab.embedded.providers.command import CommandProvider
from tests.engine import random_graphs
from tests.engine.harness import PASSPHRASE, Lab, counted
from tests.engine.pulumi_cli import MISSING, Cli, CliRun, plain_state

Graph = list[dict[str, Any]]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {', '.join(MISSING)}"),
    pytest.mark.timeout(600),
]


def chain(trigger: Any, *, before: bool, **rest: Any) -> Graph:
    return [
        {"name": "a", "triggers": [trigger], "delete_before_replace": before, "value": trigger, **rest},
        {"name": "by_trigger", "triggers_from": ["a"]},
        {"name": "by_env", "uses": ["a"]},
        {"name": "by_order", "depends_on": ["a"]},
        {"name": "beyond", "triggers_from": ["by_trigger"]},
    ]


def machine(trigger: Any, **rest: Any) -> Graph:
    return [
        {"name": "net", "value": "net"},
        {"name": "group", "kind": "group", "holds": ["net"]},
        {
            "name": "vm",
            "parent": "group",
            "triggers": [trigger],
            "delete_before_replace": True,
            "uses": ["net"],
            **rest,
        },
        {"name": "stage", "kind": "group", "deleted_with": "vm"},
        {"name": "one", "parent": "stage", "depends_on": ["vm"]},
        {"name": "two", "parent": "stage", "uses": ["one"]},
        {"name": "member", "depends_on": ["two"], "replace_with": ["vm"]},
        {"name": "watch", "trigger_from": "two"},
    ]


SCENARIOS: dict[str, list[Graph]] = {
    "update and replace by triggers": [
        [{"name": "a"}, {"name": "b", "env": {"X": "1"}}],
        [{"name": "a", "triggers": []}, {"name": "b", "env": {"X": "2"}}],
        [{"name": "a", "triggers": ["1"]}, {"name": "b"}],
        [{"name": "a", "triggers": [{"k": ["2"]}]}, {"name": "b", "stdin": "x"}],
        [{"name": "a"}, {"name": "b", "stdin": "x"}],
    ],
    "delete before replace": [chain(1, before=True), chain(2, before=True), chain(2, before=False)],
    "create before delete": [chain(1, before=False), chain(2, before=False), []],
    "a machine and its stages": [machine(1), machine(2), machine(2)[:3], machine(3)],
    "removal of a component": [machine(1), machine(1)[:1]],
    "replacement trigger": [
        [{"name": "a"}],
        [{"name": "a", "replacement_trigger": "x"}],
        [{"name": "a", "replacement_trigger": "y"}],
    ],
    "replace on changes and ignore changes": [
        [
            {"name": "a", "env": {"X": "1"}, "replace_on_changes": ["environment.X"]},
            {"name": "b", "env": {"X": "1"}, "ignore_changes": ["environment"]},
            {"name": "c", "env": {"X": "1"}, "replace_on_changes": ["*"]},
        ],
        [
            {"name": "a", "env": {"X": "2"}, "replace_on_changes": ["environment.X"]},
            {"name": "b", "env": {"X": "2"}, "ignore_changes": ["environment"]},
            {"name": "c", "env": {"X": "1", "Y": "1"}, "replace_on_changes": ["*"]},
        ],
    ],
    "secrets": [
        [{"name": "a", "env": {"K": "s3cret"}}, {"name": "b", "secret_env": {"K": "s3cret"}, "uses": ["a"]}],
        [{"name": "a", "secret_env": {"K": "s3cret"}}, {"name": "b", "secret_env": {"K": "s3cret"}, "uses": ["a"]}],
        [{"name": "a", "secret_env": {"K": "0ther"}, "additional_secret_outputs": ["stdout"]}],
    ],
    "explicit providers": [
        [
            {"name": "p", "kind": "provider"},
            {"name": "a", "provider": "p"},
            {"name": "g", "kind": "group", "providers": "p"},
            {"name": "c", "parent": "g"},
        ],
        [{"name": "a"}],
    ],
    "renamed by alias": [
        [{"name": "g", "kind": "group"}, {"name": "a", "parent": "g"}, {"name": "b", "uses": ["a"]}],
        [
            {"name": "g2", "kind": "group", "was": "g"},
            {"name": "a2", "was": "a", "parent": "g2"},
            {"name": "b", "uses": ["a2"]},
        ],
        [{"name": "g2", "kind": "group"}, {"name": "a2", "parent": "g2", "triggers": [1]}, {"name": "b"}],
    ],
    "retained": [[{"name": "a", "retain_on_delete": True}, {"name": "b", "depends_on": ["a"]}], []],
}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Lab, Cli]:
    return Lab(tmp_path / "lab", factory=CommandProvider), Cli(Lab(tmp_path / "cli"))


def write(pair: tuple[Lab, Cli], graph: Graph, **rest: Any) -> None:
    for lab in (pair[0], pair[1].lab):
        lab.write(*graph, **rest)


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} never came"
        time.sleep(0.05)


def comparable(tree: dict[str, Any], lab: Lab) -> dict[str, Any]:
    """An export without run-specific values: paths, ids, and what only the real plugin adds to a provider."""
    text = json.dumps(plain_state(tree)).replace(str(lab.directory), "DIR")
    for resource in tree["deployment"]["resources"]:
        if resource.get("id"):
            text = text.replace(resource["id"], "ID")
    found: dict[str, Any] = json.loads(text)
    for resource in found.values():
        for part in ("inputs", "outputs"):
            (resource.get(part) or {}).pop("__pulumi-go-provider-version", None)
    return found


def same_effects(ours: list[str], theirs: list[str]) -> None:
    assert sorted(ours) == sorted(theirs)


def same_states(pair: tuple[Lab, Cli]) -> None:
    lab, cli = pair
    ours = comparable(lab.engine().export(show_secrets=True), lab)
    theirs = comparable(cli.export("--show-secrets"), cli.lab)
    assert ours.keys() == theirs.keys()
    for urn, resource in theirs.items():
        assert ours[urn] == resource, urn


@pytest.mark.parametrize("name", SCENARIOS)
def test_both_engines_take_the_same_steps_to_the_same_state(name: str, pair: tuple[Lab, Cli]) -> None:
    lab, cli = pair
    for number, graph in enumerate(SCENARIOS[name]):
        write(pair, graph, exports=[graph[0]["name"]] if graph and "kind" not in graph[0] else [])
        theirs, ours = cli.up(), lab.up()
        assert theirs.code == 0, theirs.output
        assert ours.ok, ours.failures
        assert counted(ours) == theirs.steps, f"step {number}"
        same_effects(lab.log(), cli.lab.log())
        same_states(pair)
    theirs, ours = cli.destroy(), lab.engine().destroy()
    assert counted(ours) == theirs.steps
    same_effects(lab.log(), cli.lab.log())


@pytest.mark.parametrize("seed", [1, 2])
def test_both_engines_agree_on_random_programs(seed: int, pair: tuple[Lab, Cli]) -> None:
    lab, cli = pair
    rng = random.Random(seed)
    graph = random_graphs.first(rng, 14)
    for _ in range(3):
        write(pair, graph)
        theirs, ours = cli.up(), lab.up()
        assert counted(ours) == theirs.steps
        same_effects(lab.log(), cli.lab.log())
        same_states(pair)
        graph = random_graphs.changed(rng, graph)


@pytest.mark.parametrize("flag", ["fail-create-vm", "fail-delete-vm", "fail-create-one", "fail-create-member"])
def test_both_engines_recover_alike_from_a_failed_replacement(flag: str, pair: tuple[Lab, Cli]) -> None:
    # The one difference: the CLI deletes again what the failed run already deleted, even after its replacement exists.
    lab, cli = pair
    write(pair, machine(1))
    cli.up()
    lab.up()
    lab.log()
    cli.lab.log()
    write(pair, machine(2))
    lab.set(flag)
    cli.lab.set(flag)
    assert cli.up().code != 0
    assert not lab.up(continue_on_error=False).ok
    same_effects(lab.log(), cli.lab.log())
    lab.clear(flag)
    cli.lab.clear(flag)
    already = {r["urn"].rpartition("::")[2] for r in lab.state()["resources"] if r.get("pendingReplacement")}
    assert already
    theirs, ours = cli.up(), lab.up()
    assert counted(ours) == Counter(
        {step: count for step, count in theirs.steps.items() if step not in {("delete-replaced", n) for n in already}}
    )
    same_effects(lab.log(), [line for line in cli.lab.log() if line not in {f"delete {n}" for n in already}])
    same_states(pair)


def test_both_engines_replace_what_they_are_told_to(pair: tuple[Lab, Cli]) -> None:
    lab, cli = pair
    write(pair, machine(1))
    cli.up()
    lab.up()
    lab.log()
    cli.lab.log()
    theirs, ours = cli.up("--replace", "**::vm"), lab.up(replace=["vm"])
    assert theirs.code == 0, theirs.output
    assert counted(ours) == theirs.steps
    assert ("replace", "vm") in theirs.steps
    same_effects(lab.log(), cli.lab.log())
    same_states(pair)


def test_a_state_goes_to_the_cli_and_back_without_a_change(pair: tuple[Lab, Cli]) -> None:
    _, cli = pair
    graph = [*machine(1), {"name": "s", "secret_env": {"K": "s3cret"}}, {"name": "t", "replacement_trigger": "x"}]
    cli.lab.write(*graph, exports=["net"])
    # One directory for both: the commands' texts are the same.
    shared = Lab(cli.directory, factory=CommandProvider)
    ours = shared.up()
    assert ours.ok, ours.failures
    cli.import_(shared.engine().export())
    preview = cli.preview("--expect-no-changes")
    assert preview.code == 0, preview.output
    done = cli.up()
    assert done.code == 0
    assert {op for op, _ in done.steps} == {"same"}
    shared.engine().import_(cli.export())
    again = shared.up()
    assert again.ok
    assert not again.changed


def test_the_state_in_a_file_backend_is_the_clis_own_and_locked_for_both(pair: tuple[Lab, Cli]) -> None:
    _, cli = pair
    shared = Lab(cli.directory, factory=CommandProvider, state_dir="backend/.pulumi/stacks")
    cli.lab.write({"name": "a"}, {"name": "s", "secret_env": {"K": "s3cret"}})
    assert shared.up().ok
    preview = cli.preview("--expect-no-changes")
    assert preview.code == 0, preview.output
    assert cli.up().code == 0
    assert not shared.up().changed
    refused: list[CliRun] = []

    def watch(event: Event) -> None:
        if isinstance(event, ResourceStarted) and event.name == "b":
            refused.append(cli.up())

    shared.on_event = watch
    cli.lab.write({"name": "a"}, {"name": "b"})
    assert shared.up().ok
    assert refused[0].code != 0
    assert "currently locked" in refused[0].output
    shared.on_event = None
    cli.lab.write(
        {"name": "slow", "run": f"echo here > {cli.directory}/started; until test -e go-on; do sleep 0.1; done"}
    )
    with cli.running("up", "--yes", "--skip-preview"):
        wait_for(cli.directory / "started")
        try:
            with pytest.raises(LockedError, match="Pulumi CLI"):
                shared.up()
        finally:
            shared.set("go-on")
    assert not shared.up().changed


def test_a_half_done_replacement_is_finished_by_the_other_engine(pair: tuple[Lab, Cli]) -> None:
    _, cli = pair
    shared = Lab(cli.directory, factory=CommandProvider)
    cli.lab.write(*machine(1))
    assert shared.up().ok
    cli.lab.write(*machine(2))
    shared.set("fail-create-vm")
    assert not shared.up().ok
    shared.clear("fail-create-vm")
    shared.log()
    cli.import_(shared.engine().export())
    done = cli.up()
    assert done.code == 0, done.output
    assert done.steps["create-replacement", "vm"] == 1
    assert done.steps["delete-replaced", "vm"] == 0
    assert "delete vm" not in shared.log()


def test_secret_configuration_and_assets_make_the_same_state(tmp_path: Path) -> None:
    ours = Lab(tmp_path / "lab", program="secrets", factory=CommandProvider)
    theirs = Lab(tmp_path / "cli", program="secrets")
    cli = Cli(theirs)
    cipher = Cipher.new(PASSPHRASE)
    for lab in (ours, theirs):
        lab.salt = cipher.salt
        lab.configure({"token": {"secure": cipher.encrypt("hunter2")}, "nodes": [{"ram": 2048}], "mode": True})
        (lab.directory / "asset.txt").write_text("first")
    for phase in ("plain", "secret"):
        for lab in (ours, theirs):
            (lab.directory / "phase").write_text(phase)
        done, summary = cli.up(), ours.up()
        assert done.code == 0, done.output
        assert counted(summary) == done.steps
        same_states((ours, cli))


def test_the_cli_reads_secret_config_that_our_cipher_wrote(pair: tuple[Lab, Cli]) -> None:
    _, cli = pair
    cipher = Cipher.new(PASSPHRASE)
    cli.lab.salt = cipher.salt
    cli.lab.configure({"token": {"secure": cipher.encrypt("hunter2")}})
    assert cli.config("token") == "hunter2"
