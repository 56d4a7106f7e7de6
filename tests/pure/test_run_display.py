"""The progress display, from events as the engine sends them."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from halab.display.progress import Progress, work
from halab.display.run import RunDisplay
from halab.embedded.engine.events import Event, Planned, ResourceFinished, ResourceLog, ResourceStarted
from halab.timing import History

BASE = "urn:pulumi:collapsed::halab::"
DOMAIN = BASE + "halab:lab:Lab$halab:libvirt:Machine$libvirt:index/domain:Domain::controller-1"
STEP = BASE + "halab:lab:Lab$halab:command:Bootstrap$command:remote:Command::galera.configure@controller-1"
STAGE = BASE + "halab:lab:Lab$halab:command:Bootstrap$halab:command:Stage::galera"


def started(urn: str, at: float) -> ResourceStarted:
    return ResourceStarted("create", urn, urn.split("::")[2].rpartition("$")[2], urn.split("::")[3], at)


def finished(urn: str, seconds: float, error: str = "") -> ResourceFinished:
    return ResourceFinished("create", urn, not error, error, seconds)


EVENTS: list[Event] = [
    Planned("create", DOMAIN, {}),
    started(DOMAIN, 1000.0),
    ResourceLog(STEP, "info", "a line nobody asked for"),
    finished(DOMAIN, 2.5),
    started(STEP, 1003.0),
    finished(STEP, 12.0, "controller-1: disk full\nmore words"),
]


def show(tmp_path: Path, *, terminal: bool, verbose: bool = False, events: list[Event] = EVENTS) -> tuple[str, str]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, highlight=False, _environ={"TERM": "xterm"})
    progress = Progress(1000.0, frozenset({DOMAIN, STEP}))
    log = tmp_path / "up.log"
    with RunDisplay("up collapsed", progress, console, log, verbose=verbose, clock=lambda: 1004.0) as display:
        for event in events:
            display.feed(event)
    return out.getvalue(), log.read_text()


def test_without_a_terminal_each_finished_step_is_one_line_with_its_seconds(tmp_path: Path) -> None:
    shown, _ = show(tmp_path, terminal=False)
    assert "[1/2] VM controller-1  2.5 s\n" in shown
    assert "\x1b" not in shown


def test_a_failure_is_one_line_that_names_the_step_and_the_reason(tmp_path: Path) -> None:
    shown, _ = show(tmp_path, terminal=False)
    assert "failed galera.configure@controller-1: controller-1: disk full\n" in shown


def test_lines_name_resources_by_their_short_names(tmp_path: Path) -> None:
    line = ResourceLog(DOMAIN, "warning", f"skipped, because {STEP} failed")
    shown, _ = show(tmp_path, terminal=False, events=[line])
    assert shown == "VM controller-1: skipped, because galera.configure@controller-1 failed\n"


def test_a_step_s_own_lines_are_shown_only_when_asked_for_and_always_logged(tmp_path: Path) -> None:
    quiet, log = show(tmp_path, terminal=False)
    loud, _ = show(tmp_path, terminal=False, verbose=True)
    assert "a line nobody asked for" not in quiet
    assert "a line nobody asked for" in loud
    assert "a line nobody asked for" in log


def test_the_log_has_the_whole_error(tmp_path: Path) -> None:
    _, log = show(tmp_path, terminal=False)
    assert "more words" in log


def test_on_a_terminal_the_screen_names_what_runs_and_how_long_it_usually_takes() -> None:
    progress = Progress(1000.0, frozenset({DOMAIN, STEP}), History({"galera.configure@controller-1": 30.0, "x": 1.0}))
    for event in EVENTS[:5]:
        progress.feed(event)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, highlight=False, color_system=None)
    console.print(RunDisplay("up collapsed", progress, console, Path("/dev/null"), clock=lambda: 1008.0))
    shown = out.getvalue()
    assert "1 of 2 steps" in shown
    assert "galera.configure@controller-1" in shown
    assert "5.0 s" in shown
    assert "usually 30 s" in shown
    assert "about 25 s left" in shown
    assert "machines 1/1" in shown


def test_components_and_unchanged_resources_are_no_steps() -> None:
    progress = Progress(0.0)
    progress.feed(started(STAGE, 1.0))
    progress.feed(ResourceStarted("same", STEP, "command:remote:Command", "x", 1.0))
    assert progress.total == 0
    assert work([("create", STAGE, {}), ("same", STEP, {}), ("create", DOMAIN, {})]) == {DOMAIN}


def test_a_resource_that_is_deleted_and_created_again_is_one_step_of_its_stage() -> None:
    progress = Progress(0.0)
    for op, at in (("delete-replaced", 1.0), ("create-replacement", 2.0)):
        progress.feed(ResourceStarted(op, DOMAIN, "libvirt:index/domain:Domain", "controller-1", at))  # type: ignore[arg-type]
        progress.feed(ResourceFinished(op, DOMAIN, True, "", 1.0))  # type: ignore[arg-type]
    assert progress.stages() == [("machines", 1, 0, 1)]
