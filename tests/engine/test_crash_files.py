"""The small files of a stack: made by two at once, cut short by a kill or a full disk, lost, damaged."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console

from components.topology import derive
from components.variant import load
from halab.actions import down, image
from halab.cli import app, options
from halab.image import cache
from halab.workspace import Workspace, write_json, write_text

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(ROOT, derive(load(ROOT, "collapsed")), tmp_path)


def state(workspace: Workspace, uri: str) -> None:
    resources = [{"urn": "x", "type": "pulumi:providers:libvirt", "inputs": {"uri": uri}}]
    workspace.checkpoint.parent.mkdir(parents=True)
    write_json(workspace.checkpoint, {"version": 3, "checkpoint": {"latest": {"resources": resources}}})


def test_two_first_ups_at_once_have_one_passphrase(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE_FILE", raising=False)
    with ThreadPoolExecutor(16) as threads:
        given = {one.result() for one in [threads.submit(workspace.passphrase) for _ in range(16)]}
    assert given == {(workspace.state / "passphrase").read_text().strip()}
    assert os.listdir(workspace.state) == ["passphrase"]


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"hypervisor": '])
def test_a_record_that_is_lost_is_told_by_the_state(workspace: Workspace, damage: str) -> None:
    workspace.paths.root.mkdir(parents=True)
    workspace.record_file.write_text(damage)
    assert not workspace.record() or not workspace.record().hypervisor  # type: ignore[union-attr]
    state(workspace, workspace.paths.uri)
    found = workspace.record()
    assert found is not None
    assert (found.hypervisor, found.fenced, found.verified) == ("embedded", {}, "")
    workspace.note(engine="embedded")
    assert workspace.record() == workspace.note()
    workspace.record_file.unlink()
    workspace.checkpoint.write_text(workspace.checkpoint.read_text().replace(workspace.paths.uri, "qemu:///system"))
    found = workspace.record()
    assert found is not None
    assert found.hypervisor == "qemu:///system"
    workspace.checkpoint.write_text(damage)
    assert not workspace.record() or not workspace.record().hypervisor  # type: ignore[union-attr]


def test_a_file_that_cannot_be_written_is_as_it_was_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    write_text(file, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(file, "new")
    assert os.listdir(tmp_path) == ["file"]
    assert file.read_text() == "old"


def test_a_down_removes_what_killed_commands_had_begun_to_write_and_other_stacks_keep_the_passphrase(
    workspace: Workspace,
) -> None:
    begun = [
        workspace.paths.root / ".halab.json.a1b2c3",
        workspace.paths.root / ".snapshot.json.a1b2c3",
        workspace.state / ".passphrase.a1b2c3",
    ]
    other = workspace.state / "stacks" / "other" / "halab.json"
    for path in [*begun, workspace.state / "passphrase", other]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    down._forget(workspace)
    assert (workspace.state / "passphrase").exists(), "another stack comes up with it"
    other.unlink()
    down._forget(workspace)
    assert not [path for path in workspace.state.rglob("*") if path.is_file()]


def test_an_image_that_was_cut_short_is_named_and_built_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALAB_CACHE", str(tmp_path / "cache"))
    for name in image.needed(workspace):
        folder = cache.image_directory(name)
        folder.mkdir(parents=True)
        for file in cache.FILES:
            (folder / file).write_bytes(os.urandom(5000))
        cache.write_manifest(folder, name, "key", {})
    built: list[str] = []
    monkeypatch.setattr(image, "_build", lambda names, console, fresh: built.extend(names))
    said = Console(record=True, width=300, file=open(os.devnull, "w"))  # noqa: SIM115
    image.ensure(workspace, said)
    assert built == []
    cut = cache.image_directory("controller") / "root.qcow2"
    os.truncate(cut, 4000)
    image.ensure(workspace, said)
    assert built == ["controller"]
    assert f"image controller is damaged: {cut} has 4000 bytes, 5000 were written" in said.export_text()


def test_a_full_disk_and_ctrl_c_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for raised, words in (
        (OSError(errno.ENOSPC, "No space left on device", "/x/halab.json"), "/x/halab.json: No space left on device"),
        (KeyboardInterrupt(), "interrupted: run it again to go on, or ./halab down"),
    ):

        def fail(*_: object, error: BaseException = raised, **__: object) -> None:
            raise error

        monkeypatch.setattr(options, "workspace", fail)
        assert app.run(["up"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line


def test_a_program_that_is_killed_is_named(tmp_path: Path) -> None:
    from tests.engine.harness import Lab

    lab = Lab(tmp_path / "lab")
    (lab.directory / "__main__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    (failure,) = lab.up().failures
    assert "the program ended with signal 9" in failure.error


def test_the_passphrase_survives_a_kill_while_it_is_written(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from halab import workspace\n"
        "os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "workspace.write_text(Path(sys.argv[1]), 'secret', anew=False)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "passphrase")],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
    )
    assert done.returncode == -9
    assert not (tmp_path / "passphrase").exists()
    write_text(tmp_path / "passphrase", "secret", anew=False)
    assert (tmp_path / "passphrase").read_text() == "secret"
