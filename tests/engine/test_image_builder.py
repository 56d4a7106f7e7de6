"""The image builder with scripts of its own: what becomes of a build whose progress nobody can be told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from halab.image import ImageBuildError, build, spec
from halab.image.build import _Builder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces are made as root")


def test_a_build_whose_progress_cannot_be_shown_ends_instead_of_waiting_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spec, "SOURCES", tmp_path)
    (tmp_path / "talks.sh").write_text("while echo 'pmstatus:package:50.0:Unpacking' >&3; do :; done\n")

    def gone(line: str) -> None:
        raise BrokenPipeError("the terminal is closed")

    builder = _Builder(tmp_path, lambda progress: None, False)
    with pytest.raises(BrokenPipeError):
        builder._run("controller", "talks.sh", tmp_path, {}, gone)


def test_a_killed_build_leaves_its_scratch_directory_only_until_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALAB_CACHE", str(tmp_path))
    monkeypatch.setattr(spec, "SOURCES", tmp_path / "none")
    left = tmp_path / "work" / "tmpkilled" / "root"
    left.mkdir(parents=True)
    with pytest.raises((ImageBuildError, OSError)):
        build(["gateway"])
    assert not left.parent.exists()
