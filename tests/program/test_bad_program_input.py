"""A bad stack file that `pulumi preview` reads itself is refused in the same lines, before anything is asked for."""

from __future__ import annotations

import pulumi
import pytest

from tests.program.recorder import record, stack_config


def test_a_bad_stack_file_ends_the_program_with_its_lines_and_no_traceback() -> None:
    described = stack_config("collapsed")
    described["timers"] = {"token": 1}
    described["roles"]["controller"]["count"] = 4
    with pytest.raises(pulumi.RunError) as caught:
        record("collapsed", described)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("stacks/Pulumi.collapsed.yaml: ")
    assert {line.split(": ")[1] for line in lines} == {"timers.token", "roles.controller.count"}
    assert caught.value.__suppress_context__


def test_images_that_are_not_built_end_the_program_with_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    empty = tmp_path_factory.mktemp("none")
    monkeypatch.setenv("HALAB_CACHE", str(empty / "cache"))
    monkeypatch.setenv("HALAB_STATE", str(empty / "state"))
    monkeypatch.setenv("HALAB_LIBVIRT_URI", "qemu:///system")
    monkeypatch.setenv("HALAB_DOMAIN_TYPE", "qemu")
    with pytest.raises(pulumi.RunError, match=r"^image compute: not built .* run \./halab image build$"):
        record("collapsed", preview=False)
    assert not list(empty.iterdir())
