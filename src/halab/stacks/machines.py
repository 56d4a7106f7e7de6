"""The VMs that run on this host, whoever's they are, as the process table has them; and whose hypervisors do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from halab.embedded.hypervisor.processes import Mount, parse_mountinfo, role_of

_PAGE = os.sysconf("SC_PAGE_SIZE")
_UNITS = {"k": 1 / 1024, "m": 1, "g": 1024}


@dataclass(frozen=True, slots=True)
class Running:
    """A process of a hypervisor: a VM (`domain`) or, without one, what serves it.

    `memory` and `translations`: MiB that the VM was given and that its translated code may take; `rss` in bytes;
    `root`: the folder of the embedded hypervisor that it belongs to, None for one of the system's.
    """

    pid: int
    domain: str
    memory: int
    translations: int
    rss: int
    root: Path | None


def running() -> list[Running]:
    """Of what this user may see: root sees all; others see VMs, and not whose."""
    here = parse_mountinfo(Path("/proc/self/mountinfo").read_text(errors="replace"))
    roots: dict[int, Path | None] = {}
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                found += _process(int(name), here, roots)
    return found


def _process(pid: int, here: Sequence[Mount], roots: dict[int, Path | None]) -> list[Running]:
    argv = tuple(part.decode(errors="replace") for part in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1])
    kind, _, domain = role_of(argv).partition(":")
    if kind not in ("qemu", "holder", "libvirtd", "virtlogd", "fence_virtd"):
        return []
    root = _root(pid, here, roots)
    if root is None and kind != "qemu":
        return []
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return [Running(pid, domain, *sizes(argv), resident, root)]


def _root(pid: int, here: Sequence[Mount], roots: dict[int, Path | None]) -> Path | None:
    try:
        mntns = os.stat(f"/proc/{pid}/ns/mnt").st_ino
        if mntns not in roots:
            roots[mntns] = root_of(Path(f"/proc/{pid}/mountinfo").read_text(errors="replace"), here)
        return roots[mntns]
    except PermissionError:
        return None


def root_of(mountinfo: str, here: Sequence[Mount]) -> Path | None:
    """The folder of the embedded hypervisor whose `run` a process has as its /run, by the process's mounts and ours."""
    for mount in parse_mountinfo(mountinfo):
        if mount.target != "/run" or not mount.source.removesuffix("//deleted").endswith("/run"):
            continue
        folder = Path(mount.source.removesuffix("//deleted")).parent
        if folder.parent.name != "stacks":
            continue
        for ours in here:
            if ours.device == mount.device and folder.is_relative_to(ours.source):
                return Path(ours.target) / folder.relative_to(ours.source)
    return None


def sizes(argv: Sequence[str]) -> tuple[int, int]:
    """MiB of memory and of translated code on qemu's command line: "-m size=3145728k", "-accel tcg,tb-size=768"."""
    memory = translations = 0
    for flag, value in pairwise(argv):
        parts = dict(part.partition("=")[::2] for part in value.split(","))
        if flag == "-m":
            memory = _mib(parts.get("size") or value.split(",")[0])
        elif flag == "-accel" and "tb-size" in parts:
            translations = _mib(parts["tb-size"])
    return memory, translations


def _mib(text: str) -> int:
    unit = _UNITS.get(text[-1:].lower(), 0)
    return int(float(text[:-1]) * unit) if unit else int(text)
