"""A few things one after the other, each with how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from halab.display import text


class Steps:
    """Call it around each: `with steps("RAM written"): …`. On a terminal what runs is seen to run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        with self._console.status(what):
            yield
        self.seconds[what] = time.monotonic() - began
        self._console.print(f"  {what:<48} {text.duration(self.seconds[what])}")

    def say(self, line: str) -> None:
        self._console.print(line, style="yellow")
