"""The processes of a stack: found by the mount namespace they are in, ended by pidfd.

A process belongs to a stack when /run in its mount namespace is a bind mount of the stack's own `run` folder
(proc(5), mountinfo): no pid file has to be believed, and a reused pid cannot be mistaken.
"""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_OCTAL = re.compile(r"\\([0-7]{3})")
_DELETED = "//deleted"


@dataclass(frozen=True, slots=True)
class Process:
    """`role`: "holder", "libvirtd", "virtlogd", "fence_virtd", "dnsmasq", "qemu:<domain>" or a program's name.

    `rss` in bytes; `started` in clock ticks since boot, with `pid` the identity; `netns`, `mntns` inode numbers;
    `orphaned` when the folders it was started on have been deleted.
    """

    pid: int
    role: str
    argv: tuple[str, ...]
    rss: int
    started: int
    netns: int
    mntns: int
    orphaned: bool


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo: device "major:minor", the bind's `source` inside that file system, and the `target`."""

    device: str
    source: str
    target: str


def parse_mountinfo(text: str) -> list[Mount]:
    """The lines of /proc/PID/mountinfo (proc(5)); a line that is none is left out."""
    found = []
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) > 5:
            found.append(Mount(fields[2], _unescaped(fields[3]), _unescaped(fields[4])))
    return found


def _unescaped(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field).encode("latin-1", "replace").decode(errors="replace")


def origin_of(folder: Path, mounts: Iterable[Mount]) -> Mount | None:
    """`folder` as a bind mount of it would show in mountinfo: its file system and its path therein (target unset)."""
    best: Mount | None = None
    for mount in mounts:
        inside = folder.is_relative_to(mount.target)
        if inside and (best is None or len(mount.target) >= len(best.target)):
            best = mount
    if best is None:
        return None
    rest = folder.relative_to(best.target)
    return Mount(best.device, str(Path(best.source) / rest), "")


def stack_processes(run: Path) -> list[Process]:
    """Every living process whose /run is the folder `run`, oldest first. As root."""
    here = parse_mountinfo(Path("/proc/self/mountinfo").read_text(errors="replace"))
    origin = origin_of(Path(os.path.realpath(run)), here)
    if origin is None:
        return []
    mine: dict[int, tuple[bool, bool]] = {}
    found = []
    for pid in _pids():
        with suppress(OSError):
            mntns = os.stat(f"/proc/{pid}/ns/mnt").st_ino
            if mntns not in mine:
                mine[mntns] = _has_run(Path(f"/proc/{pid}/mountinfo").read_text(errors="replace"), origin)
            member, orphaned = mine[mntns]
            if member:
                found.append(_process(pid, mntns, orphaned))
    return sorted(found, key=lambda process: (process.started, process.pid))


def _has_run(mountinfo: str, origin: Mount) -> tuple[bool, bool]:
    runs = [mount for mount in parse_mountinfo(mountinfo) if mount.target == "/run"]
    for mount in runs:
        if mount.device == origin.device and mount.source.removesuffix(_DELETED) == origin.source:
            return True, mount.source.endswith(_DELETED)
    return False, False


def namespace_processes(netns: int) -> list[Process]:
    """Every living process in the network namespace with this inode number."""
    found = []
    for pid in _pids():
        with suppress(OSError):
            if os.stat(f"/proc/{pid}/ns/net").st_ino == netns:
                found.append(_process(pid, os.stat(f"/proc/{pid}/ns/mnt").st_ino, orphaned=False))
    return found


def processes_with(program: str, argument: str) -> list[Process]:
    """Every living process that is `program` (its argv[0]'s name) with exactly this `argument` on its command line."""
    found = []
    for pid in _pids():
        with suppress(OSError):
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if argument.encode() in argv[1:] and Path(argv[0].decode(errors="replace")).name == program:
                found.append(_process(pid, os.stat(f"/proc/{pid}/ns/mnt").st_ino, orphaned=False))
    return found


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def _process(pid: int, mntns: int, orphaned: bool) -> Process:
    argv = tuple(part.decode(errors="replace") for part in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1])
    # the program's name may hold spaces and parentheses: fields are counted from the last one
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        raise ProcessLookupError(pid)
    return Process(
        pid=pid,
        role=role_of(argv),
        argv=argv,
        rss=int(fields[21]) * _PAGE,
        started=int(fields[19]),
        netns=os.stat(f"/proc/{pid}/ns/net").st_ino,
        mntns=mntns,
        orphaned=orphaned,
    )


def role_of(argv: tuple[str, ...]) -> str:
    """What a command line is in a stack: see Process."""
    program = Path(argv[0]).name if argv else "?"
    if program.startswith("halab-stack-"):
        return "holder"
    if program.startswith("qemu-system"):
        names = (value for flag, value in pairwise(argv) if flag == "-name")
        guest = next(names, "").split(",")[0].removeprefix("guest=")
        return f"qemu:{guest}" if guest else program
    return program


def end(find: Callable[[], list[Process]], grace: float, limit: float = 60.0) -> list[Process]:
    """End every process `find` returns, again until it returns none: SIGTERM, after `grace` seconds SIGKILL.

    Returns those still alive after `limit` seconds: in an uninterruptible wait, or without a processor to end on. A
    signal goes to a pidfd opened before the process was verified, so never to a stranger that got its pid.
    """
    deadline = time.monotonic() + limit
    kill_at = time.monotonic() + grace
    while True:
        alive = find()
        now = time.monotonic()
        if not alive or now >= deadline:
            return alive
        until = kill_at if now < kill_at else min(deadline, now + 1.0)
        with ExitStack() as stack:
            waiting = select.poll()
            count = 0
            for process in alive:
                fd = _verified(process, stack)
                if fd is None:
                    continue
                with suppress(ProcessLookupError):
                    if now < kill_at:
                        signal.pidfd_send_signal(fd, signal.SIGTERM)
                        # a stopped process sees no SIGTERM until it is continued
                        signal.pidfd_send_signal(fd, signal.SIGCONT)
                    else:
                        signal.pidfd_send_signal(fd, signal.SIGKILL)
                waiting.register(fd, select.POLLIN)
                count += 1
            while count and (left := until - time.monotonic()) > 0:
                for fd, _ in waiting.poll(left * 1000):
                    waiting.unregister(fd)
                    count -= 1


def _verified(process: Process, stack: ExitStack) -> int | None:
    with suppress(OSError):
        fd = os.pidfd_open(process.pid)
        stack.callback(os.close, fd)
        if _process(process.pid, process.mntns, process.orphaned).started == process.started:
            return fd
    return None
