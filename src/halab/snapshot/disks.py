"""Disks of a cloud: frozen as layers under new overlays, shared between folders as hard links.

A frozen layer is never written again, so the same file may lie in any number of snapshots and pools.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from halab.errors import HalabError
from halab.stacks.host import existing

#: Between a disk's name and the id of the save that froze it.
MARK = "~"
_QCOW2 = b"QFI\xfb"


@dataclass(frozen=True, slots=True)
class Header:
    """Of a qcow2 image: the name of its backing file or "", and its virtual size in bytes."""

    backing: str
    size: int


def header(path: Path) -> Header | None:
    """None for a file that is no qcow2 image. Raises OSError. (qemu: docs/interop/qcow2.rst)"""
    with path.open("rb") as file:
        head = file.read(32)
        if len(head) < 32 or head[:4] != _QCOW2:
            return None
        at, length, _, size = struct.unpack(">8xQIIQ", head)
        if not at:
            return Header("", size)
        file.seek(at)
        return Header(file.read(length).decode(), size)


def chain(pool: Path, disk: str) -> tuple[str, ...]:
    """The names of a disk's images within its pool, from itself to its base. Raises HalabError for a broken chain."""
    found = [disk]
    while True:
        try:
            head = header(pool / found[-1])
        except OSError as error:
            raise HalabError(f"disk {disk}: {pool / found[-1]}: {error.strerror}") from None
        if head is None or not head.backing:
            return tuple(found)
        name = Path(head.backing).name
        if name in found:
            raise HalabError(f"disk {disk}: {found[-1]} is its own backing file")
        found.append(name)


def layer_of(disk: str, id_: str) -> str:
    """What `disk` is called once the save `id_` has frozen it."""
    return f"{disk}{MARK}{id_}"


def freeze(pool: Path, seen: Path, disk: str, layer: str) -> None:
    """Make `layer` of a disk that nothing has open, and a new overlay in its place; goes on where it was cut short.

    `pool`: its folder; `seen`: the same as the hypervisor sees it.
    """
    if not (pool / layer).exists():
        os.rename(pool / disk, pool / layer)
    if not (pool / disk).exists():
        overlay(pool, seen, disk, layer)


def overlay(pool: Path, seen: Path, disk: str, layer: str) -> None:
    """An empty image `disk` on top of `layer`, at once. Raises HalabError."""
    head = header(pool / layer)
    if head is None:
        raise HalabError(f"{pool / layer} is not a qcow2 image")
    scratch = pool / f".{disk}.new"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-u", "-b", str(seen / layer)]
    done = subprocess.run([*command, str(scratch), str(head.size)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HalabError(f"overlay on {pool / layer}: {done.stderr.strip() or done.returncode}")
    scratch.chmod(0o644)
    os.replace(scratch, pool / disk)


def needed(pool: Path, disks: Iterable[str]) -> frozenset[str]:
    """The names of all files in a pool but layers that no disk stands on (left over from a restore)."""
    kept = {name for disk in disks for name in chain(pool, disk)}
    return frozenset(
        path.name
        for path in pool.iterdir()
        if path.is_file() and not path.name.startswith(".") and (MARK not in path.name or path.name in kept)
    )


def sweep(pool: Path, disks: Iterable[str]) -> None:
    """Remove the pool's links to layers that no disk stands on."""
    kept = needed(pool, disks)
    for path in pool.iterdir():
        if MARK in path.name and path.is_file() and path.name not in kept:
            path.unlink()


def share(source: Path, target: Path) -> None:
    """The same file in another folder: a hard link, or a sparse copy where folders are on different file systems."""
    try:
        os.link(source, target)
    except OSError:
        done = subprocess.run(
            ["cp", "--reflink=auto", "--sparse=always", "--preserve=mode,timestamps", "--", str(source), str(target)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise HalabError(f"copy of {source}: {done.stderr.strip()}") from None


def fill(pool: Path, seen: Path, files: Path, layers: Mapping[str, str]) -> None:
    """Make a pool's folder what it was when `files` was saved: those files, and an empty overlay for each disk.

    `layers`: disk to the layer that it stands on. Nothing in the pool may be in use.
    """
    pool.mkdir(parents=True, exist_ok=True)
    for path in pool.iterdir():
        if path.is_dir() and not path.is_symlink():
            raise HalabError(f"{path} is a folder, and a pool of halab has none: move it away")
        path.unlink()
    for path in sorted(files.iterdir()):
        share(path, pool / path.name)
    with ThreadPoolExecutor() as at_once:
        list(at_once.map(lambda disk: overlay(pool, seen, disk, layers[disk]), layers))


def shares(one: Path, other: Path) -> bool:
    """Whether files can be linked between two folders, neither of which needs to exist yet."""
    return existing(one).stat().st_dev == existing(other).stat().st_dev
