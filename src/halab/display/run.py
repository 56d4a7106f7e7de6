"""A run while it goes: a live screen on a terminal, else one line per finished step; every event to a log file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from halab.display.progress import Progress
from halab.display.text import duration
from halab.embedded.engine.events import Diagnostic, Event, Planned, ResourceFinished, ResourceLog, ResourceStarted
from halab.labels import label, readable

_SHOWN = 12


class RunDisplay(AbstractContextManager["RunDisplay"]):
    """`feed` may be called from any thread. `title` is what runs, e.g. "up collapsed"; `log` gets every event."""

    def __init__(
        self,
        title: str,
        progress: Progress,
        console: Console,
        log: Path,
        *,
        verbose: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.title, self.progress, self.console, self.verbose = title, progress, console, verbose
        self._log_path, self._clock, self._lock = log, clock, threading.RLock()
        self._log: TextIO | None = None
        self._live = Live(self, console=console, refresh_per_second=2, transient=True) if console.is_terminal else None

    def __enter__(self) -> RunDisplay:
        self._log = self._log_path.open("a", encoding="utf-8", buffering=1)
        if self._live:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        if self._log:
            self._log.close()

    def feed(self, event: Event) -> None:
        with self._lock:
            now = self._clock()
            self._write(event, now)
            done = self.progress.feed(event)
            if isinstance(event, ResourceFinished) and not event.ok:
                first = event.error.strip().splitlines() or ["no reason given"]
                self.console.print(Text.assemble(("failed ", "bold red"), label(event.urn), ": ", readable(first[0])))
            elif done is not None and self._live is None:
                self.console.print(self._line(done.label, done.seconds))
            elif isinstance(event, ResourceLog) and (self.verbose or event.severity in ("warning", "error")):
                self.console.print(Text.assemble((f"{label(event.urn)}: ", "dim"), readable(event.line)))
            elif isinstance(event, Diagnostic) and event.severity in ("warning", "error"):
                style = "red" if event.severity == "error" else "yellow"
                self.console.print(Text.assemble((f"{event.severity}: ", style), readable(event.text.rstrip())))

    def _line(self, what: str, seconds: float) -> str:
        progress, width = self.progress, len(str(self.progress.total))
        return f"[{len(progress.finished):>{width}}/{progress.total}] {what}  {duration(seconds)}"

    def _write(self, event: Event, now: float) -> None:
        if self._log is None:
            return
        if isinstance(event, Planned):
            changed = ", ".join(event.diff) if event.op in ("update", "replace") else ""
            text = f"planned {event.op} {label(event.urn)} {changed}"
        elif isinstance(event, ResourceStarted):
            text = f"started {event.op} {label(event.urn)}"
        elif isinstance(event, ResourceFinished):
            text = (
                f"{'done' if event.ok else 'FAILED'} {event.op} {label(event.urn)} {event.seconds:.1f} s {event.error}"
            )
        elif isinstance(event, ResourceLog):
            text = f"{event.severity} {label(event.urn)}: {event.line}"
        else:
            text = f"{event.severity} {event.text}"
        stamp = time.strftime("%H:%M:%S", time.localtime(now))
        try:
            self._log.write(f"{stamp} {text.rstrip()}\n")
        except OSError as error:
            self.console.print(Text(f"{self._log_path}: {error.strerror}: not written any further", style="yellow"))
            self._log = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._lock:
            yield self._screen(self._clock(), options.max_width)

    def _screen(self, now: float, width: int) -> Group:
        progress = self.progress
        left = progress.remaining(now)
        head = Text.assemble(
            (self.title, "bold"),
            f"  {duration(now - progress.began)}  ",
            f"{len(progress.finished)} of {progress.total} steps",
            f"  about {duration(left)} left" if left else "",
            *([(f"  {len(progress.failed)} failed", "bold red")] if progress.failed else []),
        )
        # in a grid, because a bar alone does not end its line
        bar = Table.grid()
        bar.add_row(ProgressBar(total=max(progress.total, 1), completed=len(progress.finished), width=min(width, 60)))
        stages = Text("  ").join(
            Text(f"{name} {done}/{of}", style="green" if done == of else "bold" if running else "dim")
            for name, done, running, of in progress.stages()
        )
        table = Table.grid(padding=(0, 2))
        begun = sorted(progress.running.values(), key=lambda one: one.since)
        for one in begun[:_SHOWN]:
            usual = progress.history.seconds.get(label(one.urn))
            table.add_row(
                Text("●", style="cyan"),
                label(one.urn),
                duration(now - one.since),
                Text(f"usually {duration(usual)}" if usual else "", style="dim"),
            )
        if len(begun) > _SHOWN:
            table.add_row("", Text(f"and {len(begun) - _SHOWN} more", style="dim"))
        return Group(head, bar, stages, table)
