"""Where snapshots are kept, what they take, and which go first when there is no more room.

`<state>/snapshots/<stack>/<name>/` are the named ones, `<state>/golden/<key>/` the golden clouds. One that is being
written has a name of its own and a lock; it gets its place when it is whole.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from halab.errors import RefusedError
from halab.snapshot import manifest
from halab.snapshot.manifest import DamagedError, Manifest

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
GOLDEN = "golden"
LIMIT = "HALAB_SNAPSHOT_LIMIT"
DEFAULT_LIMIT = 40
"""GiB of disk for all snapshots of a host."""
_PARTIAL, _LOCK, _NEEDED, _USED = ".partial", ".lock", ".needed", ".used"
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Place:
    """One snapshot's folder. `golden`: a golden cloud, whose name is its key."""

    folder: Path
    stack: str
    golden: bool

    @property
    def name(self) -> str:
        """What a user calls it."""
        return f"{GOLDEN}-{self.folder.name[:12]}" if self.golden else self.folder.name

    @property
    def used(self) -> float:
        """When it was saved or last brought back, seconds since the epoch."""
        marks = [path for path in (self.folder / _USED, self.folder / manifest.NAME) if path.exists()]
        return max((path.stat().st_mtime for path in marks), default=0.0)

    def touch(self) -> None:
        """Note that it is used now."""
        (self.folder / _USED).touch(mode=0o600)

    def exists(self) -> bool:
        return (self.folder / manifest.NAME).exists()

    def inodes(self) -> dict[tuple[int, int], int]:
        """(device, inode) of each of its files to the bytes of disk it takes."""
        found = {}
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                status = path.stat()
                found[status.st_dev, status.st_ino] = status.st_blocks * 512
        return found


def named(state: Path, stack: str, name: str) -> Place:
    """Raises RefusedError for a name that cannot be one."""
    if NAME.fullmatch(name) is None or name.split("-")[0] == GOLDEN:
        raise RefusedError(
            f"snapshot: {name!r}: up to 63 of a-z, 0-9, '.', '_' and '-', the first a letter or digit, are needed, and "
            f"{GOLDEN} is what golden clouds are called"
        )
    return Place(state / "snapshots" / stack / name, stack, False)


def golden(state: Path, key: str) -> Place:
    return Place(state / GOLDEN / key, "", True)


def every(state: Path) -> list[Place]:
    """All snapshots on this host that were finished: named ones by stack and name, then goldens, last used first."""
    folders = [path.parent for path in sorted(state.glob(f"snapshots/*/*/{manifest.NAME}"))]
    found = [Place(folder, folder.parent.name, False) for folder in folders if not _is_partial(folder)]
    goldens = [golden(state, path.parent.name) for path in state.glob(f"{GOLDEN}/*/{manifest.NAME}")]
    return found + sorted((one for one in goldens if not _is_partial(one.folder)), key=lambda one: -one.used)


def find(state: Path, stack: str, name: str, key: str = "") -> Place:
    """The snapshot a user means: a name of the stack's, `golden` (that of `key`), or `golden-<start of a key>`.

    Raises RefusedError where there is none, naming those there are.
    """
    mine = [one for one in every(state) if one.golden or one.stack == stack]
    if name == GOLDEN:
        fitting = [one for one in mine if one.golden and one.folder.name == key]
        if not fitting:
            raise RefusedError(
                f"{stack}: no golden cloud of what its stack file and recipes make today; a verified ./halab up "
                f"--stack {stack} leaves one"
            )
    elif name.startswith(f"{GOLDEN}-"):
        fitting = [one for one in mine if one.golden and one.folder.name.startswith(name.removeprefix(f"{GOLDEN}-"))]
    else:
        fitting = [one for one in mine if not one.golden and one.name == name]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(one.name for one in mine) or "none yet; ./halab snapshot save NAME makes one"
    raise RefusedError(f"snapshot {name!r} of {stack}: {'several fit' if fitting else 'no such'}; there are: {known}")


def read(place: Place) -> Manifest:
    """Its manifest. Raises DamagedError that says what to do."""
    try:
        return manifest.read(place.folder)
    except DamagedError as error:
        raise DamagedError(f"{error}; remove it: ./halab snapshot rm {place.name}{_of(place)}") from None


def sums(state: Path) -> dict[manifest.Inode, manifest.File]:
    """The files of all snapshots that can be read, by (device, inode)."""
    found = {}
    for place in every(state):
        with suppress(DamagedError):
            for name, file in manifest.read(place.folder).files.items():
                with suppress(OSError):
                    status = (place.folder / name).stat()
                    found[status.st_dev, status.st_ino] = file
    return found


def _of(place: Place) -> str:
    return "" if place.golden else f" --stack {place.stack}"


def check(place: Place, found: Manifest) -> None:
    """Every file against its checksum. Raises DamagedError that says what to do."""
    try:
        manifest.check(place.folder, found)
    except DamagedError as error:
        raise DamagedError(
            f"snapshot {place.name} is damaged and was not touched: {error}; remove it: ./halab snapshot rm "
            f"{place.name}{_of(place)}"
        ) from None


# Writing one.


@contextmanager
def writing(place: Place) -> Iterator[Path]:
    """A folder to write a snapshot in, which takes its place when the block ends well and goes when it does not.

    Its lock goes with this process: what a dead one left is known by that. While a stack needs it (`need`) it stays.
    """
    place.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    clear_partials(place.folder.parent)
    partial = place.folder.with_name(f".{place.folder.name}.{os.getpid()}{_PARTIAL}")
    partial.mkdir(mode=0o700)
    lock = os.open(partial / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield partial
        for mark in (_LOCK, _NEEDED):
            (partial / mark).unlink(missing_ok=True)
        os.rename(partial, place.folder)
    except BaseException:
        if not _needed(partial):
            shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def need(partial: Path, intent: Path) -> None:
    """Say that the file `intent` refers to this folder: it is not to be cleared while that file is there."""
    (partial / _NEEDED).write_text(str(intent))


def _needed(partial: Path) -> bool:
    try:
        return str(partial) in Path((partial / _NEEDED).read_text()).read_text()
    except OSError:
        return False


def _is_partial(folder: Path) -> bool:
    return folder.name.endswith(_PARTIAL)


def dead_partials(folder: Path) -> list[Path]:
    """What writers that are dead left in the folder of a stack's snapshots or of the goldens."""
    return [path for path in sorted(folder.glob(f".*{_PARTIAL}")) if path.is_dir() and not _busy(path)]


def _busy(partial: Path) -> bool:
    return _locked(partial / _LOCK) or _needed(partial)


def clear_partials(folder: Path) -> None:
    for path in dead_partials(folder):
        shutil.rmtree(path, ignore_errors=True)


def _locked(lock: Path) -> bool:
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


# Room.


def limit() -> int:
    """Bytes of disk that all snapshots may take: $HALAB_SNAPSHOT_LIMIT in GiB. Raises RefusedError."""
    given = os.environ.get(LIMIT, str(DEFAULT_LIMIT))
    if not given.isdigit():
        raise RefusedError(f"{LIMIT}: {given!r}: a whole number of GiB is needed, 0 for no golden clouds")
    return int(given) * _GIB


def use(places: Iterable[Mapping[tuple[int, int], int]]) -> int:
    """Bytes of disk that snapshots take together, a file that several share counted once."""
    together: dict[tuple[int, int], int] = {}
    for one in places:
        together |= one
    return sum(together.values())


def evicted(
    goldens: Iterable[tuple[Place, float, Mapping[tuple[int, int], int]]],
    others: Iterable[Mapping[tuple[int, int], int]],
    bound: int,
) -> list[Place]:
    """The goldens that go, those unused for longest first, for all that stay to fit into `bound` bytes. Pure.

    `goldens`: each with when it was last used and its files; `others`: the files of snapshots that stay.
    """
    left = sorted(goldens, key=lambda one: one[1])
    kept = list(others)
    gone = []
    while left and use([*(one[2] for one in left), *kept]) > bound:
        gone.append(left.pop(0)[0])
    return gone


def unused(places: Iterable[tuple[Place, float]], seconds: float, now: float | None = None) -> list[Place]:
    """Those that were not used for so long. Pure but for the clock."""
    moment = time.time() if now is None else now
    return [place for place, used in places if moment - used > seconds]


def alone(place: Place) -> int:
    """Bytes of disk that nothing else shares: neither a cloud that is up nor another snapshot."""
    files = (path.stat() for path in place.folder.rglob("*") if path.is_file())
    return sum(status.st_blocks * 512 for status in files if status.st_nlink == 1)


def folders(state: Path) -> list[Path]:
    """Those that hold snapshots: one for each stack, one for the goldens."""
    return [path for path in (*sorted(state.glob("snapshots/*")), state / GOLDEN) if path.is_dir()]


def remove(place: Place) -> int:
    """Delete a snapshot; the bytes of disk that came free, since clouds and other snapshots may share its files."""
    freed = alone(place)
    # out of sight at once: half a snapshot must never look like one
    going = place.folder.with_name(f".{place.folder.name}.{os.getpid()}{_PARTIAL}")
    os.rename(place.folder, going)
    shutil.rmtree(going)
    return freed
