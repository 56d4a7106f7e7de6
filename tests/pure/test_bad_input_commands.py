"""Bad input to real commands: one line each, exit code 2, within two seconds of work, and nothing made on disk."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from halab import settings
from halab.cli.app import app, run

ROOT = Path(__file__).parents[2]
BAD = """
config:
  halab:stack:
    variant: colapsed
    timers: {token: yes, stonith: 3}
    roles: {storage: {disk: 1}}
"""
#: What the bad file's lines begin with.
KEYS = ["variant", "timers.token", "timers.stonith", "roles.storage.disk"]


@dataclass(frozen=True)
class Place:
    """A checkout with one bad stack file, and a folder that stays empty."""

    project: Path
    state: Path


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="hl-") as folder:
        project = Path(folder, "project")
        (project / "stacks").mkdir(parents=True)
        shutil.copy(ROOT / "Pulumi.yaml", project)
        shutil.copy(ROOT / "stacks" / "Pulumi.collapsed.yaml", project / "stacks")
        (project / "stacks" / "Pulumi.bad.yaml").write_text(BAD)
        for name in ("HALAB_STACK", "HALAB_MIRROR", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HALAB_PROJECT", str(project))
        monkeypatch.setenv("HALAB_STATE", f"{folder}/state")
        yield Place(project, Path(folder, "state"))


def tree(place: Place) -> list[Path]:
    return sorted(place.project.parent.rglob("*"))


def said_by(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of a refusal: on stderr alone, each after halab's name and fit for a terminal."""
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines
    assert all(line.startswith("halab: ") and line.isprintable() for line in lines), lines
    return [line.removeprefix("halab: ") for line in lines]


#: Every command that is about a stack.
COMMANDS = (
    *(["up"], ["up", "--json"], ["preview"], ["preview", "--model"], ["status"], ["verify"], ["ssh"], ["logs"]),
    *(
        ["graph"],
        ["image", "build"],
        ["image", "list"],
        ["bench"],
        ["down"],
        ["recover"],
        ["compare"],
        ["compare", "--run"],
    ),
    *(
        ["console", "controller-1"],
        ["replace", "controller-1", "--yes"],
        ["fault", "list"],
        ["fault", "run", "api-kill"],
    ),
    *(["fault", "watch", "true"], ["snapshot", "save", "x"], ["snapshot", "restore", "x"], ["snapshot", "show", "x"]),
    *(["snapshot", "rm", "x"],),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_refuses_a_bad_file_in_the_same_lines(
    command: list[str], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(place)
    lines = said_by([*command, "--stack", "bad"], capsys)
    assert {line.split(": ")[1] for line in lines if ": unknown" not in line} >= {*KEYS}
    assert all(line.startswith("stacks/Pulumi.bad.yaml:") for line in lines)
    assert tree(place) == before


def test_no_command_that_is_about_a_stack_is_left_out_of_these() -> None:
    known = get_command(app).commands  # type: ignore[attr-defined]
    groups = {name: getattr(one, "commands", {"": one}) for name, one in known.items()}
    found = {f"{name} {inner}".strip() for name, group in groups.items() for inner, one in group.items() if about(one)}
    tried = {" ".join(command[: 1 + (command[0] in ("fault", "image", "snapshot"))]) for command in COMMANDS}
    # a doctor has rows in place of lines, and the hidden command is for halab's program
    assert found - {"doctor", "fence-daemon start", "fence-daemon stop"} == tried


def about(command: Any) -> bool:
    return any(parameter.name == "stack" for parameter in command.params)


@pytest.mark.parametrize("command", ["up", "preview", "doctor"])
def test_the_real_command_refuses_within_two_seconds_and_leaves_the_disk_as_it_was(command: str, place: Place) -> None:
    before = tree(place)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [ROOT / "halab", command, "--stack", "bad"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2
    assert all(key in done.stdout + done.stderr for key in KEYS)
    assert tree(place) == before
    # Seconds of CPU: on an idle host what a user waits, on a busy one what halab can be blamed for.
    assert now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime < 2


def test_a_refusal_loads_nothing_that_only_running_needs(place: Place) -> None:
    script = (
        "import sys; from halab.cli.app import run; assert run(['up', '--stack', 'bad']) == 2; "
        "print([m for m in ('pulumi', 'grpc', 'asyncssh', 'libvirt', 'cryptography', 'lxml') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["upp"], "No such command 'upp'. Did you mean 'up'?; ./halab --help"),
        (["up", "--stak", "x"], "No such option: --stak"),
        (["up", "extra"], "Got unexpected extra argument(s) (extra); ./halab up --help"),
        (["up", "--stack"], "Option '--stack' requires an argument"),
        (["up", "--engine", "other"], "'other' is not one of 'auto', 'cli', 'embedded'; ./halab up --help"),
        (["logs", "--lines", "0"], "Invalid value for '--lines'"),
        (["logs", "--lines", "many"], "Invalid value for '--lines'"),
        (["up", "--until", "pacemaker.redy"], "--until: 'pacemaker.redy': no such step; did you mean pacemaker.ready?"),
        (["up", "--until", "\x1b[2J"], "--until: '\\x1b[2J': no such step; see ./halab graph --kind steps"),
        (
            ["logs", "--bundle", "/nonexistent/x.tar.gz"],
            "--bundle: '/nonexistent/x.tar.gz': a file in a folder that exists",
        ),
        (["logs", "--bundle", "/tmp"], "--bundle: '/tmp': a file is needed; this is a folder"),
        (["verify", "--junit", "/nonexistent/x.xml"], "--junit: '/nonexistent/x.xml': a file in a folder that exists"),
        (["ssh", "controller-9"], "NODE: 'controller-9': did you mean controller-"),
        (["ssh", "\x1b]0;x\x07"], "NODE: '\\x1b]0;x\\x07': stack collapsed has"),
        (["logs", "controller-9"], "NODE: 'controller-9'"),
        (["console", "controller-9"], "NODE: 'controller-9'"),
        (["image", "build", "none"], "NAME: 'none': there are controller"),
        (["up", "--stack", "../../etc/passwd"], "--stack: '../../etc/passwd': a name of a-z"),
        (["up", "--stack", "a" * 300], f"--stack: '{'a' * 60}…': a name of a-z"),
        (
            ["up", "--stack", "colapsed"],
            "--stack: 'colapsed': no file stacks/Pulumi.colapsed.yaml; did you mean collapsed?",
        ),
        (["down", "--stack", "../x"], "'../x': 1 to 64 letters"),
        (["\x1b[31mred"], "\\x1b[31mred"),
    ],
)
def test_a_command_line_that_cannot_be_is_one_line(
    arguments: list[str], line: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(place)
    (said,) = said_by(arguments, capsys)
    assert line in said
    assert tree(place) == before


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("HALAB_STATE", "/proc/version", "a folder is needed; this is none"),
        ("HALAB_STATE", "/proc/version/below", "a folder is needed; /proc/version is none"),
        ("HALAB_STATE", "/run/halab", "would vanish inside the stack's namespaces"),
        ("HALAB_STATE", "/tmp/" + "a" * 100, "bytes too long for a socket"),
        ("HALAB_STATE", "/tmp/a?socket=b", "a path of letters, digits"),
        ("HALAB_STATE", "/tmp/\x1b[2J", "a path of letters, digits"),
        ("HALAB_CACHE", "/proc/version", "a folder is needed; this is none"),
        ("HALAB_PROJECT", "/nonexistent", "the folder of a checkout is needed"),
        ("HALAB_MIRROR", "debian", "the address of a Debian mirror is needed"),
        ("PULUMI_CONFIG_PASSPHRASE_FILE", "/nonexistent", "a file that exists and can be read is needed"),
        ("PULUMI_CONFIG_PASSPHRASE_FILE", "/tmp", "a file that exists and can be read is needed"),
        ("PULUMI_CONFIG_PASSPHRASE_FILE", "EMPTY", "a file with a passphrase in it is needed; this one is empty"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line_before_anything_else(
    name: str,
    value: str,
    rule: str,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if value == "EMPTY":
        value = str(place.project / "empty")
        Path(value).touch()
    monkeypatch.setenv(name, value)
    before = tree(place)
    (said,) = said_by(["up", "--stack", "bad"], capsys)
    assert said.startswith(f"{name}: ")
    assert rule in said
    assert tree(place) == before


def test_all_wrong_settings_are_told_together() -> None:
    wrong = {"HALAB_STATE": "/proc/version", "HALAB_CACHE": "a b", "HALAB_MIRROR": "x", "HALAB_PROJECT": ""}
    assert [line.partition(":")[0] for line in settings.problems(wrong)] == [
        "HALAB_STATE",
        "HALAB_CACHE",
        "HALAB_MIRROR",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="root writes everywhere else")
def test_a_folder_of_another_user_is_no_place_for_state() -> None:
    os.seteuid(65_534)
    try:
        (line,) = settings.problems({"HALAB_STATE": "/var/lib/halab-of-nobody"})
    finally:
        os.seteuid(0)
    assert "a folder that this user may write in is needed; /var/lib is not" in line


def test_a_passphrase_that_comes_through_a_pipe_is_not_taken_out_of_it() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"secret\n")
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert settings.problems({"PULUMI_CONFIG_PASSPHRASE_FILE": f"/dev/fd/{reading}"}) == []
        assert pipe.read() == b"secret\n"


@pytest.mark.parametrize("command", [["list"], ["prune"], ["preview", "--model"]], ids=" ".join)
def test_other_stacks_bad_files_stand_in_nobody_s_way(
    command: list[str], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place.project / "stacks"
    (folder / "Pulumi.bytes.yaml").write_bytes(b"\xff\x00")
    (folder / "Pulumi.folder.yaml").mkdir()
    os.mkfifo(folder / "Pulumi.pipe.yaml")
    (folder / "Pulumi.\x1b[31m.yaml").write_text("x")
    assert run(command) == 0
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err


def test_help_is_there_whatever_the_settings_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALAB_STATE", "/proc/version")
    assert run(["up", "--help"]) == 0


@pytest.mark.parametrize("command", sorted(get_command(app).commands))  # type: ignore[attr-defined]
def test_no_command_takes_an_option_that_it_does_not_know(
    command: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (said,) = said_by([command, "--no-such-option"], capsys)
    assert "--no-such-option" in said
