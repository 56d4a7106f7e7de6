"""doctor --stack: what a stack needs of this host, row by row, and a bad file's mistakes as rows."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from components.topology import Topology, derive
from components.variant import Role, Variant
from halab.actions import doctor, needs
from halab.cli.app import run
from halab.display.text import duration
from halab.host import doctor as host
from halab.host.doctor import Check, Verdict
from halab.host.install import exists
from halab.host.requirements import Requirement
from halab.image import cache
from halab.stacks import admission, budget
from halab.stacks.admission import Obstacles
from halab.timing import History
from halab.workspace import BUILDABLE, Workspace, write_json

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """The default stack with a folder of state that does not exist yet."""
    with tempfile.TemporaryDirectory(prefix="hl-") as folder:
        monkeypatch.setenv("HALAB_STATE", f"{folder}/state")
        monkeypatch.setenv("HALAB_CACHE", f"{folder}/cache")
        yield Workspace.load(ROOT, "collapsed")


def sized(topology: Topology, role: Role, **sizes: int) -> Topology:
    roles = tuple(replace(spec, **sizes) if spec.role is role else spec for spec in topology.stack.roles)  # type: ignore[arg-type]
    return derive(replace(topology.stack, roles=roles))


def test_a_stack_s_rows_name_everything_it_takes_of_the_host_and_make_nothing(workspace: Workspace) -> None:
    rows = {check.name: check for check in needs.rows(workspace, emulated=True)}
    images = {f"image {name}" for name in ("compute", "controller", "gateway", "storage")}
    assert rows.keys() == images | {
        *("stack", "engine", "hypervisor", "VMs", "memory of VMs", "disk of VMs", "processors", "an up takes"),
        *("network cloud", "network outer", "addresses", "ports"),
    }
    assert "3 controller (3072 MiB, 1 vCPU, 8 GiB)" in rows["VMs"].seen
    for network in workspace.topology.networks:
        assert rows[f"network {network.key}"].seen.startswith(f"{network.cidr}, bridge {network.bridge}")
    assert all(f"{vip.name} {vip.ip}" in rows["addresses"].seen for vip in workspace.topology.vips)
    assert "TCP 5000" in rows["ports"].seen
    assert "UDP 1229 to 225.0.0.12" in rows["ports"].seen
    assert not workspace.state.exists()


@pytest.mark.parametrize("name", Variant)
def test_every_stack_that_comes_with_halab_has_its_rows(name: str, workspace: Workspace) -> None:
    other = Workspace.load(ROOT, name)
    rows = needs.rows(other, emulated=False)
    assert all(check.seen for check in rows)
    assert (rows[0].verdict is Verdict.OK) == (other.topology.stack.variant in BUILDABLE)


@pytest.mark.parametrize("emulated", [True, False])
def test_memory_is_the_sum_that_an_up_is_refused_by(collapsed: Topology, emulated: bool) -> None:
    seen = needs.memory(collapsed, emulated).seen
    assert f"up to {budget.memory(collapsed, emulated)} MiB" in seen
    controller = budget.memory_of(collapsed.role(Role.CONTROLLER)[0], emulated)
    assert f"3 controller ({controller} MiB)" in seen
    assert ("translated code" in seen) == emulated


def test_a_vm_wider_than_the_host_is_a_warning_that_names_the_key(collapsed: Topology) -> None:
    wide = sized(collapsed, Role.COMPUTE, vcpus=4)
    check = needs.processors(wide, cores=2, emulated=False)
    assert (check.verdict, check.mend.split(":")[0]) == (Verdict.WARN, "roles.compute.vcpus")
    assert needs.processors(wide, cores=4, emulated=False).verdict is Verdict.OK


def test_an_image_that_is_not_built_says_how_long_building_took_the_last_time(
    collapsed: Topology, tmp_path: Path
) -> None:
    before = {check.name: check for check in needs.images(collapsed, tmp_path)}
    assert before["image compute"].seen == "not built"
    assert "nobody knows" in before["image compute"].mend
    cache.learn_seconds({"base": 60.0, "compute packages": 90.0, "compute image": 30.04}, tmp_path)
    after = {check.name: check for check in needs.images(collapsed, tmp_path)}
    assert "about 3 min 00 s, as the last time" in after["image compute"].mend
    assert "./halab image build compute" in after["image compute"].mend
    assert "nobody knows" in after["image controller"].mend
    cache.base_layer(tmp_path).parent.mkdir()
    cache.base_layer(tmp_path).touch()
    assert "about 2 min 00 s" in next(iter(needs.images(collapsed, tmp_path))).mend
    assert cache.seconds(tmp_path)["compute image"] == 30.0


def test_a_damaged_image_is_said_to_be_so(collapsed: Topology, tmp_path: Path) -> None:
    cache.image_directory("compute", tmp_path).mkdir(parents=True)
    assert next(iter(needs.images(collapsed, tmp_path))).seen.startswith("damaged: ")


def test_how_long_an_up_takes_is_known_from_earlier_ones_or_said_to_be_unknown(workspace: Workspace) -> None:
    assert "not known before the first one on this host (emulated)" in needs.duration_of_up(workspace, True).seen
    seconds = {step.name: 10.0 for step in workspace.plan.steps}
    other = workspace.history.with_name("other.json")
    write_json(other, {"seconds": seconds, "together": 5.0})
    expected = f"about {duration(len(seconds) * 10 / 5)}"
    assert f"{expected} (with KVM), by other stacks' ups here" in needs.duration_of_up(workspace, False).seen
    write_json(workspace.history, {"seconds": seconds, "together": 2.0})
    assert f"about {duration(len(seconds) * 5)}" in needs.duration_of_up(workspace, False).seen


def test_histories_of_several_stacks_are_one_that_promises_the_least() -> None:
    found = needs.together([History({"a": 1.0}, 4.0), History({}, 0.5), History({"b": 2.0}, 3.0)])
    assert found == History({"a": 1.0, "b": 2.0}, 3.0)


def test_what_stands_against_the_stack_is_a_failed_row_and_exit_code_2(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host, "examine", lambda demand: [Check("system", Verdict.OK, "debian 12")])
    obstacles = Obstacles(
        ("networks.cloud: '10.0.0.0/22': overlaps the route to 10.0.0.0/8",), ("memory: 5 MiB short",)
    )
    monkeypatch.setattr(admission, "look", lambda *_: obstacles)
    assert doctor.run(workspace, install=False, yes=False, as_json=True) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["stack"]) == (False, "collapsed")
    assert found["checks"][0] == {"about": "host", "name": "system", "verdict": "ok", "seen": "debian 12", "mend": ""}
    failed = [row["seen"] for row in found["checks"] if row["verdict"] == "fail"]
    assert failed == [*obstacles.clashes, *obstacles.shortages]
    monkeypatch.setattr(admission, "look", lambda *_: Obstacles())
    assert doctor.run(workspace, install=False, yes=False, as_json=False) == 0
    assert "this host can run collapsed" in capsys.readouterr().out


def test_a_bad_stack_file_is_rows_with_line_key_value_and_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stacks").mkdir()
    text = "config:\n  halab:stack:\n    variant: collapsd\n    timers: {token: 1}\n    pasword: hunter2\n"
    (tmp_path / "stacks" / "Pulumi.bad.yaml").write_text(text)
    monkeypatch.setenv("HALAB_PROJECT", str(tmp_path))
    assert run(["doctor", "--stack", "bad", "--json"]) == 2
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    assert rows.keys() == {"variant", "timers.token", "pasword", "roles"}
    assert rows["timers.token"] == {
        **{"about": "file", "name": "timers.token", "verdict": "fail", "seen": "1", "line": 4},
        "mend": "a whole number from 1000 to 60000 milliseconds is needed",
    }
    assert run(["doctor", "--stack", "bad"]) == 2
    said = capsys.readouterr().out
    assert "'collapsd'" in said
    assert "hunter2" not in said
    assert "4 mistakes; nothing else was looked at" in said


def test_a_program_is_shown_with_the_version_of_its_package() -> None:
    shell = Requirement("shell", "runs scripts", ("/bin/sh",), ("dash",))
    assert host._requirement(shell, {"dash": "0.5"}).seen == "/bin/sh (0.5)"
    assert host._requirement(shell, {}).seen == "/bin/sh"
    if exists("dpkg-query"):
        versions = host._versions([shell, Requirement("none", "", ("/none",), ("no-such-package",))])
        assert versions.keys() == {"dash"}
