"""new, list, prune and the room for an up: on a checkout and a state folder of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.topology import derive
from components.variant import Variant, load
from halab import hypervisors
from halab.actions import doctor
from halab.cli.app import run
from halab.embedded.engine.errors import LockedError
from halab.embedded.engine.lock import Lock
from halab.errors import RefusedError
from halab.stacks import admission, budget, host, survey
from halab.stacks.claims import EMBEDDED, Taken
from halab.stacks.machines import Running
from halab.workspace import Workspace
from tests.pure.conftest import PROJECT


@pytest.fixture
def project(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with two of halab's stack files, on a host with room, where nothing runs and no libvirt answers."""
    (tmp_path / "stacks").mkdir()
    for name in ("collapsed", "keepalived"):
        shutil.copy(PROJECT / "stacks" / f"Pulumi.{name}.yaml", tmp_path / "stacks")
    shutil.copy(PROJECT / "Pulumi.yaml", tmp_path)
    monkeypatch.setenv("HALAB_PROJECT", str(tmp_path))
    monkeypatch.setenv("HALAB_STATE", str(state / "s"))
    monkeypatch.setenv("HALAB_CACHE", str(state / "c"))
    monkeypatch.delenv("HALAB_STACK", raising=False)
    monkeypatch.setattr(hypervisors, "SOCKETS", ())
    monkeypatch.setattr(hypervisors, "choose", lambda workspace: hypervisors.Choice(True, "test:///", "a test"))
    monkeypatch.setattr(host, "routes", list)
    monkeypatch.setattr(host, "free", lambda folder: 1 << 50)
    for module in ("admission", "survey"):
        monkeypatch.setattr(f"halab.stacks.{module}.running", list)
    monkeypatch.setattr("halab.actions.new.running", list)
    return tmp_path


def written(project: Path, name: str) -> Path:
    return project / "stacks" / f"Pulumi.{name}.yaml"


def description(project: Path, name: str) -> Any:
    return yaml.safe_load(written(project, name).read_text())["config"]["halab:stack"]


def stand(project: Path, name: str, days: float, *, variant: str = "collapsed", file: bool = True) -> Workspace:
    """A stack that came up so many days ago, as its state folder has it; nothing of it runs."""
    if file and not written(project, name).exists():
        shutil.copy(written(project, variant), written(project, name))
    source = written(project, name) if file else written(project, variant)
    stack = load(project, name if file else variant)
    workspace = Workspace(project, derive(stack), Path(os.environ["HALAB_STATE"]))
    if not file:
        workspace = Workspace(project, derive(replace(stack, name=name)), workspace.state)
    begun = f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
    workspace.note(hypervisor=EMBEDDED, engine="embedded", owner="somebody", since=begun, built=begun, verified=begun)
    workspace.description.write_text(source.read_text())
    return workspace


# new


def test_a_new_stack_is_its_variant_s_file_with_every_comment(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["new", "mine", "--variant", "keepalived"]) == 0
    assert written(project, "mine").read_text() == written(project, "keepalived").read_text()
    assert "halab preview --stack mine" in capsys.readouterr().out


def test_a_file_that_is_there_is_never_overwritten(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(project, "mine").write_text("mine")
    assert run(["new", "mine"]) == 2
    assert written(project, "mine").read_text() == "mine"
    assert capsys.readouterr().err.count("\n") == 1


def test_settings_are_put_where_they_belong(project: Path) -> None:
    assert run(["new", "mine", "--set", "roles.compute.count=2", "--set", "timers.token=5000"]) == 0
    found = description(project, "mine")
    assert found["roles"]["compute"] == {"count": 2, "cluster": "core", "membership": "remote"}
    assert found["timers"] == {"token": 5000}
    assert "# " in written(project, "mine").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mine", "--set", "roles.compute.count=many", "--set", "colour=red"], ["'many'", "colour"]),
        (["mine", "--set", "roles.compute.count"], ["roles.compute.count=2"]),
        (["mine", "--set", "variant.x=1"], ["is no mapping"]),
        (["mine", "--set", "roles={"], ["YAML"]),
        (["Mine"], ["'Mine'"]),
        (["../mine"], ["'../mine'"]),
    ],
)
def test_what_makes_no_stack_is_told_and_nothing_is_written(
    project: Path, arguments: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(project.rglob("*"))
    assert run(["new", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(any(word in line for line in lines) for word in said)
    assert sorted(project.rglob("*")) == before


def test_networks_that_a_route_meets_are_others_written_into_the_file(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    office = IPv4Network("10.0.0.0/8")
    monkeypatch.setattr(host, "routes", lambda: [Taken(office, "the route to 10.0.0.0/8 (wg0)", "wg0")])
    assert run(["new", "mine"]) == 0
    networks = description(project, "mine")["networks"]
    assert set(networks) == {"cloud"}
    assert not IPv4Network(networks["cloud"]).overlaps(office)
    assert "the route to 10.0.0.0/8 (wg0)" in capsys.readouterr().out


def test_networks_of_another_stack_s_file_are_kept_clear_of(project: Path) -> None:
    assert run(["new", "mine"]) == 0
    derived = derive(load(project, "mine"))
    written(project, "mine").unlink()
    theirs = written(project, "keepalived").read_text()
    outer = derived.outer.cidr.supernet(new_prefix=23)
    written(project, "other").write_text(f"{theirs}    networks: {{cloud: {derived.cloud.cidr}, outer: {outer}}}\n")
    assert run(["new", "mine"]) == 0
    mine = derive(load(project, "mine"))
    assert not mine.cloud.cidr.overlaps(derived.cloud.cidr)
    assert not mine.outer.cidr.overlaps(outer)


def test_a_name_that_is_still_up_without_a_file_is_not_given_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand(project, "mine", 1, file=False)
    assert run(["new", "mine"]) == 2
    assert "halab down --stack mine" in capsys.readouterr().err


# list


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert run(["list", "--json"]) == 0
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["stacks"]}


def test_every_stack_is_listed_also_one_whose_file_is_gone_and_one_nobody_can_read(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand(project, "mine", 3)
    stand(project, "gone", 2, file=False)
    broken = stand(project, "broken", 1)
    broken.description.write_text("[")
    written(project, "broken").write_text("config: {}")
    found = listed(capsys)
    assert set(found) == {"collapsed", "keepalived", "mine", "gone", "broken"}
    assert {name: one["condition"] for name, one in found.items()} == {
        "collapsed": "down",
        "keepalived": "down",
        "mine": "stopped",
        "gone": "stopped",
        "broken": "stopped",
    }
    assert (found["mine"]["owner"], found["mine"]["variant"]) == ("somebody", "collapsed")
    assert found["mine"]["age"] == pytest.approx(3 * 86400, abs=60)
    assert found["gone"]["file"] == ""
    assert found["broken"]["variant"] == ""
    assert run(["list"]) == 0
    assert "its file is gone" in capsys.readouterr().out


def test_what_runs_of_a_stack_is_counted_also_in_another_state_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = stand(project, "mine", 0)
    machines = mine.paths.etc / "qemu"
    machines.mkdir(parents=True)
    for node in mine.topology.nodes:
        (machines / f"{node.domain}.xml").touch()
    here = [Running(1, node.domain, 3072, 768, 5 << 20, mine.paths.root) for node in mine.topology.nodes[:4]]
    there = Running(2, "halab-theirs-controller-1", 1024, 0, 1 << 20, Path("/srv/theirs/stacks/theirs"))
    monkeypatch.setattr(survey, "running", lambda: [*here, Running(3, "", 0, 0, 9 << 20, mine.paths.root), there])
    found = listed(capsys)
    assert (found["mine"]["running"], found["mine"]["defined"]) == (4, len(mine.topology.nodes))
    assert found["mine"]["memory"] == (4 * 5 + 9) << 20
    assert found["mine"]["promised"] == 4 * (3072 + 768 + budget.QEMU_OVERHEAD)
    assert (found["theirs"]["state"], found["theirs"]["condition"]) == ("/srv/theirs", "interrupted")
    assert found["mine"]["condition"] == "verified"


def test_a_stack_that_a_command_is_changing_is_busy(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = stand(project, "mine", 3)
    for file in (mine.up_lock, mine.checkpoint.with_suffix(".lock")):
        lock = Lock(file, lambda line: None)
        lock.acquire()
        assert listed(capsys)["mine"]["condition"] == "busy"
        lock.release()
        assert listed(capsys)["mine"]["condition"] == "stopped"


# prune


def test_without_anybody_to_ask_a_prune_only_shows(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stand(project, "old", 9)
    assert run(["prune"]) == 0
    said = capsys.readouterr().out
    assert "old" in said
    assert "--yes" in said
    assert listed(capsys)["old"]["condition"] == "stopped"


def test_a_prune_takes_down_what_is_older_and_nothing_else(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stand(project, "old", 9)
    stand(project, "gone", 30, file=False)
    young = stand(project, "young", 6.9)
    busy = stand(project, "busy", 9)
    lock = Lock(busy.up_lock, lambda line: None)
    lock.acquire()
    assert run(["prune", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"chosen": ["gone", "old"], "gone": ["gone", "old"], "failed": {}}
    lock.release()
    found = listed(capsys)
    assert found["old"]["condition"] == "down"
    assert "gone" not in found
    assert (found["young"]["condition"], found["busy"]["condition"]) == ("stopped", "stopped")
    assert young.record() is not None
    assert written(project, "old").exists()


def test_files_go_only_when_asked_and_never_those_that_come_with_halab(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand(project, "old", 9)
    stand(project, "collapsed", 9)
    shutil.copy(written(project, "collapsed"), written(project, "idle"))
    shutil.copy(written(project, "collapsed"), written(project, "fresh"))
    month = datetime.now(UTC).timestamp() - 30 * 86400
    for name in ("idle", "keepalived"):
        os.utime(written(project, name), (month, month))
    assert run(["prune", "--yes", "--files", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["gone"]) == {"old", "collapsed", "idle"}
    assert sorted(path.stem.removeprefix("Pulumi.") for path in (project / "stacks").iterdir()) == [
        "collapsed",
        "fresh",
        "keepalived",
    ]


def test_an_age_that_is_none_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prune", "--older-than", "soon"]) == 2
    assert "'soon'" in capsys.readouterr().err


def test_a_stack_whose_file_is_gone_or_broken_goes_down_as_it_came_up(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand(project, "gone", 1, file=False)
    stand(project, "broken", 1)
    written(project, "broken").write_text("config: {}")
    for name in ("gone", "broken"):
        assert run(["down", "--stack", name]) == 0
    assert run(["down", "--stack", "gone"]) == 2
    assert "'gone'" in capsys.readouterr().err


def test_a_stack_that_another_command_is_changing_is_not_taken_down(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = stand(project, "mine", 1)
    lock = Lock(mine.up_lock, lambda line: None)
    lock.acquire()
    assert run(["down", "--stack", "mine"]) == 2
    assert f"pid {os.getpid()}" in capsys.readouterr().err
    assert mine.record() is not None
    lock.release()
    assert run(["down", "--stack", "mine"]) == 0
    assert list((mine.state / "stacks").iterdir()) == []


# The room for an up


def test_an_up_without_room_is_one_line_with_the_shortfall_and_makes_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host, "memory", lambda: 8192)
    assert run(["up"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    need = budget.memory(derive(load(project, "collapsed")), emulated=not os.access("/dev/kvm", os.R_OK | os.W_OK))
    assert f"memory: {need + budget.RESERVE - 8192} MiB short" in said
    assert "--overcommit" in said
    assert not Path(os.environ["HALAB_STATE"]).exists()


def test_overcommit_goes_on_and_says_what_is_short(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reached(*arguments: object) -> None:
        raise RefusedError("reached the doctor")

    monkeypatch.setattr(host, "memory", lambda: 8192)
    monkeypatch.setattr(doctor, "require", reached)
    assert run(["up", "--overcommit"]) == 2
    said = capsys.readouterr()
    assert "reached the doctor" in said.err
    assert "MiB short" in said.out


def test_disk_is_short_where_images_and_what_nodes_write_exceed_what_is_free(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.load(project, "collapsed")
    monkeypatch.setattr(host, "memory", lambda: 1 << 20)
    images = len({node.image for node in workspace.topology.nodes})
    need = sum(map(budget.allowance, workspace.topology.nodes)) + 2 * images * admission._UNBUILT
    monkeypatch.setattr(host, "free", lambda folder: need)
    assert admission.look(workspace, EMBEDDED, emulated=True) == admission.Obstacles()
    monkeypatch.setattr(host, "free", lambda folder: need - 1)
    (line,) = admission.look(workspace, EMBEDDED, emulated=True).shortages
    assert line.startswith("disk: 1 GiB short")


def test_of_two_that_come_up_at_once_the_second_sees_what_the_first_will_take(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["new", "mine"]) == 0
    first, second = (Workspace.load(project, name) for name in ("collapsed", "mine"))
    need = budget.memory(first.topology, emulated=True)
    monkeypatch.setattr(host, "memory", lambda: 2 * need + budget.RESERVE - 1)
    admission.refuse(second, EMBEDDED, emulated=True, overcommit=False)
    with admission.admitted(first, EMBEDDED, "embedded", emulated=True, overcommit=False):
        with pytest.raises(RefusedError, match=rf"mine: memory: 1 MiB short: .*stack collapsed {need} MiB"):
            admission.refuse(second, EMBEDDED, emulated=True, overcommit=False)
        with (
            pytest.raises(LockedError, match=f"pid {os.getpid()}"),
            admission.admitted(first, EMBEDDED, "embedded", emulated=True, overcommit=False),
        ):
            pass
    admission.refuse(second, EMBEDDED, emulated=True, overcommit=False)
    record = first.record()
    assert record is not None
    assert (record.hypervisor, record.owner) == (EMBEDDED, host.user())
    assert Workspace.standing(project, "collapsed").topology == first.topology


def test_what_was_let_in_is_not_asked_again_while_it_runs_but_growth_is(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = stand(project, "mine", 0)
    one = Running(1, mine.topology.nodes[0].domain, 3072, 768, 1, mine.paths.root)
    monkeypatch.setattr(admission, "running", lambda: [one])
    monkeypatch.setattr(host, "memory", lambda: 4096)
    assert admission.look(mine, EMBEDDED, emulated=True) == admission.Obstacles()
    monkeypatch.setattr(admission, "running", lambda: [replace(one, domain="")])
    assert admission.look(mine, EMBEDDED, emulated=True).shortages
    monkeypatch.setattr(admission, "running", lambda: [one])
    grown = written(project, "mine").read_text().replace("compute: {count: 1", "compute: {count: 2")
    written(project, "mine").write_text(grown)
    assert admission.look(Workspace.load(project, "mine"), EMBEDDED, emulated=True).shortages


def test_vms_of_nobody_we_know_take_memory_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "running", lambda: [Running(1, "windows", 4096, 0, 1, None)])
    monkeypatch.setattr(host, "memory", lambda: 8192)
    (line,) = admission.look(Workspace.load(project, "collapsed"), EMBEDDED, emulated=False).shortages
    assert f"other VMs {4096 + budget.QEMU_OVERHEAD} MiB" in line


def test_a_preview_warns_of_what_an_up_would_be_refused_for(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host, "memory", lambda: 8192)
    assert run(["preview", "--model", "--json"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "MiB short" in warning


def test_who_asked_is_who_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "ada")
    assert host.user() == "ada"
    monkeypatch.delenv("SUDO_USER")
    assert host.user() == "root"


# Git


def test_git_ignores_developers_stacks_and_keeps_those_of_halab() -> None:
    names = {name: f"stacks/Pulumi.{name}.yaml" for name in (*sorted(Variant), "mine", "collapsed-2")}
    command = ["git", "-C", str(PROJECT), "check-ignore", "--no-index", *names.values()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 128:
        pytest.skip("this copy of halab is no git repository")
    assert done.stdout.split() == [names["mine"], names["collapsed-2"]]
