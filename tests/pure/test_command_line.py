"""Bad input and help: answered at once, with the exit code that a script can rely on, and nothing made."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from halab.cli.app import run
from halab.host import pulumi_cli
from halab.workspace import BUILDABLE

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "up",
    "down",
    "new",
    "list",
    "prune",
    "preview",
    "status",
    "verify",
    "ssh",
    "console",
    "logs",
    "doctor",
    "image",
    "graph",
    "bench",
    "test",
]
VARIANTS = ["collapsed", "segregated", "keepalived", "cloned", "endpoint"]


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for state that does not exist yet; pytest's own are too long for libvirt's sockets."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("HALAB_STATE", f"{folder}/state")
        monkeypatch.delenv("HALAB_STACK", raising=False)
        yield Path(folder, "state")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert "./halab" in capsys.readouterr().out


def test_an_unknown_stack_is_one_line_that_names_those_there_are(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["preview", "--stack", "nope"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "'nope'" in said
    assert all(variant in said for variant in VARIANTS)
    assert not state.exists()


@pytest.mark.parametrize("variant", [one for one in VARIANTS if one not in BUILDABLE])
def test_up_refuses_what_it_cannot_build_in_one_line_and_makes_nothing(
    variant: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["up", "--stack", variant]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "collapsed" in said.err
    assert said.out == ""
    assert not state.exists()


def test_each_mistake_of_a_stack_file_is_a_line_with_key_value_and_rule(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stacks").mkdir()
    text = (ROOT / "stacks" / "Pulumi.collapsed.yaml").read_text()
    broken = text.replace("count: 3", "count: many").replace(
        "variant: collapsed", "variant: collapsed\n    colour: red"
    )
    (tmp_path / "stacks" / "Pulumi.mine.yaml").write_text(broken)
    monkeypatch.setenv("HALAB_PROJECT", str(tmp_path))
    assert run(["up", "--stack", "mine"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert any("roles.controller.count: 'many'" in line for line in lines)
    assert any("colour: 'red': unknown key" in line for line in lines)
    assert not state.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["up", "--engine", "other"],
        ["graph", "--kind", "cloud"],
        ["logs", "--lines", "0"],
        ["ssh", "controller-9"],
        ["ssh"],
        ["console"],
        ["console", "controller-9"],
        ["console", "controller-1", "--log"],
        ["status"],
        ["verify"],
        ["logs"],
        ["test", "--tier", "none"],
        ["image", "build", "none"],
    ],
)
def test_what_cannot_be_done_is_exit_code_2_and_makes_nothing(arguments: list[str], state: Path) -> None:
    assert run(arguments) == 2
    assert not state.exists()


def test_asking_for_the_pulumi_cli_where_there_is_none_says_what_lacks(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pulumi_cli, "lacking", lambda: ["no pulumi CLI"])
    assert run(["up", "--engine", "cli"]) == 2
    assert "no pulumi CLI" in capsys.readouterr().err
    assert not state.exists()


def test_bad_input_takes_less_than_two_seconds_of_cpu(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "HALAB_STATE": str(tmp_path / "state")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "halab", "up", "--stack", "nope"], env=environment, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_help_does_not_load_what_only_a_running_command_needs() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    script = (
        "import sys; from halab.cli.app import run; run(['up', '--help']); "
        "print([m for m in ('pulumi', 'grpc', 'asyncssh', 'libvirt', 'cryptography') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_fence_daemon_s_json_is_refused_without_showing_it(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"key": "c2VjcmV0", "uri": 3'))
    assert run(["fence-daemon", "start"]) == 1
    said = capsys.readouterr()
    assert "c2VjcmV0" not in said.err + said.out


def test_the_fence_daemon_command_is_not_offered_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "fence-daemon" not in capsys.readouterr().out
