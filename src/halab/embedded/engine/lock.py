"""One writer per stack: a lock file that names its holder and that the kernel releases when the holder dies.

Where the state lies in a Pulumi file backend, the CLI's own lock is respected and set as well.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import shlex
import socket
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from halab.embedded.engine.errors import LockedError


class Lock:
    """Holds `file` from `acquire` to `release`. `say` is told when a dead holder's lock is taken over.

    `cli` is the directory of the Pulumi CLI's locks on the same stack, None when its backend is not in use here.
    """

    def __init__(self, file: Path, say: Callable[[str], None], cli: Path | None = None) -> None:
        self._file = file
        self._say = say
        self._cli = cli
        self._handle: int | None = None
        self._mark: Path | None = None

    def acquire(self) -> None:
        """Raises: LockedError when a live process, or one on another host, holds the lock."""
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            handle = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                holder = _read(handle)
                if holder and _alive(holder):
                    raise BlockingIOError
            except BlockingIOError:
                holder = _read(handle)
                os.close(handle)
                raise LockedError(self._refusal(holder)) from None
            if _current(self._file, handle):
                break
            os.close(handle)
        if holder:
            self._say(f"took over the lock of pid {holder.get('pid')}, which died after {holder.get('time')}")
        mine = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "start": _start_time(os.getpid()),
            "command": textwrap.shorten(shlex.join(sys.argv[1:]), 80),
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        self._handle = handle
        # On a full disk the lock holds all the same: it only does not say whose it is.
        with suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(mine).encode(), 0)
        try:
            self._join_cli()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        if self._mark is not None:
            self._mark.unlink(missing_ok=True)
            self._mark = None
            self._leave_no_empty_directories()
        if self._handle is None:
            return
        self._file.unlink(missing_ok=True)
        os.close(self._handle)
        self._handle = None

    def _join_cli(self) -> None:
        """Keeps CLIs out and refuses while one holds the stack; marks whose process is dead are cleared.

        The mark is set before the look around, as the CLI does: of two that come at once, at least one sees the other.
        """
        if self._cli is None:
            return
        with suppress(OSError):
            self._cli.mkdir(parents=True, exist_ok=True, mode=0o700)
        mine = self._cli / f"halab-{os.getpid()}.json"
        content = {
            "pid": os.getpid(),
            "username": getpass.getuser(),
            "hostname": socket.gethostname(),
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }
        self._mark = mine
        with suppress(OSError):
            mine.write_text(json.dumps(content))
        for mark in sorted(self._cli.glob("*.json")):
            if mark != mine:
                self._respect(mark)

    def _respect(self, mark: Path) -> None:
        try:
            holder = json.loads(mark.read_text())
        except FileNotFoundError:
            return
        except ValueError:
            holder = {}
        pid, host = holder.get("pid"), holder.get("hostname")
        if host == socket.gethostname() and isinstance(pid, int) and _start_time(pid) is None:
            self._say(f"cleared the Pulumi lock of pid {pid}, which is dead")
            mark.unlink(missing_ok=True)
            return
        who = f"a Pulumi CLI, pid {pid} on {host} since {holder.get('timestamp')}"
        raise LockedError(f"the stack is locked by {who} ({mark}); wait for it or end it")

    def _leave_no_empty_directories(self) -> None:
        directory = self._cli
        while directory is not None and directory.name != ".pulumi":
            try:
                directory.rmdir()
            except OSError:
                return
            directory = directory.parent

    def _refusal(self, holder: dict[str, Any]) -> str:
        who = "a process"
        if holder:
            what = f" ({holder['command']})" if holder.get("command") else ""
            who = f"pid {holder.get('pid')}{what} on {holder.get('host')} since {holder.get('time')}"
        if holder and holder.get("host") != socket.gethostname():
            return f"the stack is locked by {who}; if that run is dead, remove {self._file}"
        return f"the stack is locked by {who} ({self._file}); wait for it or end it"


def held(file: Path) -> bool:
    """Whether a live process holds the lock."""
    return bool(_holder(file))


def held_above(file: Path) -> bool:
    """Whether a process that began this one, itself or through others, holds the lock."""
    return _holder(file).get("pid") in set(_ancestors())


def cli_locks(state_file: Path) -> Path | None:
    """Where the Pulumi CLI keeps its locks on a stack, when `state_file` lies in a file backend (.pulumi/stacks)."""
    stacks = state_file.parent.parent
    if stacks.name != "stacks" or stacks.parent.name != ".pulumi":
        return None
    return stacks.parent / "locks" / "organization" / state_file.parent.name / state_file.stem


def _holder(file: Path) -> dict[str, Any]:
    """What a lock that is held says of its holder; nothing of one that is not."""
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError:
        return {}
    try:
        found = _read(handle)
    finally:
        os.close(handle)
    return found if found and _alive(found) else {}


def _read(handle: int) -> dict[str, Any]:
    try:
        tree = json.loads(os.pread(handle, 4096, 0) or b"{}")
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}


def _alive(holder: dict[str, Any]) -> bool:
    """A holder elsewhere counts as alive: nothing here can tell."""
    if holder.get("host") != socket.gethostname():
        return True
    pid = holder.get("pid")
    return isinstance(pid, int) and _start_time(pid) == holder.get("start") is not None


def _start_time(pid: int) -> int | None:
    """A process's start in clock ticks since boot (proc_pid_stat(5), field 22), None when it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _ancestors() -> Iterator[int]:
    """Whoever began this process, the nearest first (proc_pid_stat(5), field 4)."""
    pid = os.getppid()
    while pid > 1:
        yield pid
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return


def _current(file: Path, handle: int) -> bool:
    """Whether the locked inode is still the file of that name (a releasing holder unlinks it)."""
    try:
        return os.stat(file).st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False
