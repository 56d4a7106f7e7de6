"""What a command prints: the end of it for the state, its lines for the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

KEPT = 64 * 1024
LINE = 2000
SHOWN = 4096


class Tail:
    """The last `limit` bytes of a stream."""

    def __init__(self, limit: int = KEPT) -> None:
        self._limit = limit
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > 2 * self._limit:
            del self._data[: -self._limit]

    def text(self) -> str:
        """The kept end as text, without one final newline."""
        return bytes(self._data[-self._limit :]).decode(errors="replace").removesuffix("\n")


class Lines:
    """Hands on a stream line by line; a carriage return ends a line too, and a line has at most LINE bytes."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._rest = b""

    def add(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._put(line)
        if len(self._rest) > LINE:
            self._put(self._rest)
            self._rest = b""

    def end(self) -> None:
        self._put(self._rest)
        self._rest = b""

    def _put(self, line: bytes) -> None:
        if line.strip():
            self._emit(line[:LINE].decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ran to its end. `status` is its exit status, or minus the signal that ended it."""

    status: int
    stdout: str
    stderr: str
    both: str

    def failure(self) -> str:
        """How it failed and the last SHOWN characters of what it printed. Never the command, which may hold secrets."""
        how = f"exit status {self.status}" if self.status >= 0 else f"ended by signal {-self.status}"
        return f"{how}: {self.both[-SHOWN:]}" if self.both else f"{how}, without output"


class Capture:
    """Both streams of one command: kept apart, kept together as they came, and logged as asked."""

    def __init__(self, logging: str, log: Callable[[str], None]) -> None:
        self._stdout, self._stderr, self._both = Tail(), Tail(), Tail()
        lowered = logging.lower()
        self._stdout_lines = Lines(log) if "stdout" in lowered else None
        self._stderr_lines = Lines(log) if "stderr" in lowered else None

    def out(self, data: bytes) -> None:
        self._stdout.add(data)
        self._both.add(data)
        if self._stdout_lines:
            self._stdout_lines.add(data)

    def err(self, data: bytes) -> None:
        self._stderr.add(data)
        self._both.add(data)
        if self._stderr_lines:
            self._stderr_lines.add(data)

    def ended(self, status: int) -> Ended:
        for lines in (self._stdout_lines, self._stderr_lines):
            if lines:
                lines.end()
        return Ended(status, self._stdout.text(), self._stderr.text(), self._both.text())
