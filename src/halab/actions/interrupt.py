"""Ctrl-C while an engine works."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from halab.engines import Runner


@contextmanager
def interruptible(runner: Runner, console: Console) -> Iterator[list[int]]:
    """Ctrl-C once: nothing new is started; twice: running operations are given up. Yields the interrupts so far."""
    pressed: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        runner.cancel()
        console.print(
            "interrupted: running steps go on to their end, nothing new starts (Ctrl-C again: give them up)"
            if len(pressed) == 1
            else "interrupted again: giving up"
        )

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
