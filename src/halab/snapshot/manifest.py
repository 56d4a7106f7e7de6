"""What a snapshot says of itself: what it holds, of what cloud, and the checksum of every file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from halab.embedded.providers.libvirt.upload import data_sections
from halab.errors import HalabError
from halab.workspace import write_text

FORMAT = 2
NAME = "manifest.json"
Inode = tuple[int, int]
_BLOCK = 256 * 1024
_PRIORITY = -15
_ZEROS = bytes(_BLOCK)


class DamagedError(HalabError):
    """A snapshot that is not what was saved."""


@dataclass(frozen=True, slots=True)
class File:
    """`size` in bytes; `sha256` in hex, of what in the file is not zeros (see `digest`)."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM: its libvirt name and definition, its address in the cloud's network, the name of each of its disks."""

    domain: str
    ip: str
    xml: str
    disks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Host:
    """What RAM can be resumed on: `qemu` the emulator's own words, `cpu` what its guests see of the host's, or ""."""

    hypervisor: str
    domain_type: str
    qemu: str
    cpu: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`golden` is the key of a golden cloud, "" for a snapshot that was named; `root` the stack's folder when saved.

    `layers`: disk to the layer it was frozen as; `guests` by node; `networks`: name to definition; `pool`: definition;
    `record`: the stack's record; `well`: whether its clusters were asked, and quorate; `created` UTC, ISO 8601;
    `memory` in MiB; `files`: path in the snapshot to what it must be.
    """

    stack: str
    cloud: str
    name: str
    golden: str
    created: str
    root: str
    host: Host
    well: bool
    memory: int
    guests: Mapping[str, Guest]
    layers: Mapping[str, str]
    networks: Mapping[str, str]
    pool: str
    record: Mapping[str, Any]
    files: Mapping[str, File] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def write(folder: Path, manifest: Manifest) -> None:
    body = asdict(manifest)
    document = {"format": FORMAT, "sha256": _digest(body), "snapshot": body}
    write_text(folder / NAME, json.dumps(document, indent=1) + "\n")


def read(folder: Path) -> Manifest:
    """Raises DamagedError for one that is missing, cut short or changed, or written by another halab."""
    path = folder / NAME
    try:
        document = json.loads(path.read_text())
        body = document["snapshot"]
        if document["format"] != FORMAT:
            raise DamagedError(f"{path}: format {document['format']}, this halab reads {FORMAT}")
        if document["sha256"] != _digest(body):
            raise DamagedError(f"{path}: its own checksum does not fit")
        return _manifest(body)
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise DamagedError(f"{path}: not a snapshot's manifest") from None


def _manifest(body: Mapping[str, Any]) -> Manifest:
    guests = {node: Guest(**{**one, "disks": tuple(one["disks"])}) for node, one in body["guests"].items()}
    files = {name: File(**one) for name, one in body["files"].items()}
    return Manifest(**{**body, "host": Host(**body["host"]), "guests": guests, "files": files})


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def contents(folder: Path) -> tuple[str, ...]:
    """The paths of a snapshot's files, its manifest and marks left out."""
    found = (path for path in folder.rglob("[!.]*") if path.is_file() and path != folder / NAME)
    return tuple(sorted(str(path.relative_to(folder)) for path in found))


def digest(file: BinaryIO) -> str:
    """SHA-256, in hex, over (position, content) of every block that is not all zeros: most of a RAM image is holes,
    which are not even read, and whether zeros are stored as holes makes no difference. Raises OSError.
    """
    found, number, block = hashlib.sha256(), file.fileno(), bytearray(_BLOCK)
    done = 0
    for start, end in data_sections(number, os.fstat(number).st_size):
        for at in range(max(done, start // _BLOCK * _BLOCK), end, _BLOCK):
            count = os.preadv(number, [block], at)
            content = block if count == _BLOCK else block[:count]
            if content != (_ZEROS if count == _BLOCK else _ZEROS[:count]):
                found.update(at.to_bytes(8, "big"))
                found.update(content)
            done = at + _BLOCK
    return found.hexdigest()


def measure(folder: Path, names: Iterable[str], known: Mapping[Inode, File] = MappingProxyType({})) -> dict[str, File]:
    """Size and checksum of files, read by as many threads as there are processors. Raises OSError.

    `known`: what files are that another snapshot has too; they are not read again, and should one have changed since
    it was saved there, it is found damaged.
    """

    def one(name: str) -> tuple[str, File]:
        with (folder / name).open("rb") as file:
            status = os.fstat(file.fileno())
            before = known.get((status.st_dev, status.st_ino))
            return name, before or File(status.st_size, digest(file))

    # the largest first, so that no thread is left with one at the end
    ordered = sorted(names, key=lambda name: -(folder / name).stat().st_size)
    with _before_others(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return dict(pool.map(one, ordered))


@contextmanager
def _before_others() -> Iterator[None]:
    """This process goes before the emulated VMs of a cloud that runs, which would take most of the host from it.

    Where the kernel groups processes by session (sched(7), autogroup), a process's own priority counts for nothing.
    """
    priority, group = os.getpriority(os.PRIO_PROCESS, 0), Path("/proc/self/autogroup")
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    with suppress(OSError):
        group.write_text(str(_PRIORITY))
    try:
        yield
    finally:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, priority)
        with suppress(OSError):
            group.write_text("0")


def check(folder: Path, manifest: Manifest) -> None:
    """Raises DamagedError naming the first file that is missing or not as it was saved; sizes are looked at first."""
    for name, expected in sorted(manifest.files.items()):
        path = folder / name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DamagedError(f"{path}: {error.strerror}") from None
        if size != expected.size:
            raise DamagedError(f"{path}: {size} bytes, {expected.size} were saved")
    for name, found in measure(folder, manifest.files).items():
        if found != manifest.files[name]:
            raise DamagedError(f"{folder / name}: its checksum is not that of what was saved")
