"""Built images on disk: `<cache>/images/<name>-<key12>/` with root.qcow2, vmlinux, initrd and manifest.json.

A directory appears under its final name only when complete, so a build that dies leaves nothing that looks built.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from halab.image import spec

FILES = ("root.qcow2", "vmlinux", "initrd")
_SECONDS = "build-seconds.json"


def cache_root() -> Path:
    """$HALAB_CACHE, else /var/cache/halab for root and ~/.cache/halab for others."""
    if configured := os.environ.get("HALAB_CACHE"):
        return Path(configured)
    return Path("/var/cache/halab") if os.geteuid() == 0 else Path.home() / ".cache" / "halab"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A file as it was when the build ended; `sha256` is 64 hex digits, `mtime_ns` nanoseconds since the epoch."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in an image: its files by name, and its packages with their versions."""

    name: str
    key: str
    files: Mapping[str, Recorded]
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Image:
    """One built image: what a machine needs to boot it directly."""

    name: str
    key: str
    qcow2: Path
    kernel: Path
    initrd: Path
    #: SHA-256 of root.qcow2, 64 hex digits: two builds of one key differ when Debian's packages moved on in between.
    digest: str
    #: Installed version of every Debian package.
    packages: Mapping[str, str]

    @classmethod
    def cached(cls, name: str, root: Path | None = None) -> Self | None:
        """The image of NAMES for today's sources if it is built and undamaged, else None. Reads no large file."""
        return cls.load(image_directory(name, root))

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """The image in a directory if it is whole, else None."""
        manifest = read_manifest(directory)
        if manifest is None or damage(directory) is not None:
            return None
        return cls(
            name=manifest.name,
            key=manifest.key,
            qcow2=directory / "root.qcow2",
            kernel=directory / "vmlinux",
            initrd=directory / "initrd",
            digest=manifest.files["root.qcow2"].sha256,
            packages=manifest.packages,
        )


def image_directory(name: str, root: Path | None = None) -> Path:
    """Where the image for today's sources is or will be."""
    return (root or cache_root()) / "images" / f"{name}-{spec.image_key(name)[:12]}"


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of a built image, None where there is none that can be read."""
    try:
        document = json.loads((directory / "manifest.json").read_text())
        files = {name: Recorded(**document["files"][name]) for name in FILES}
        return Manifest(document["name"], document["key"], files, document["packages"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_manifest(directory: Path, name: str, key: str, packages: Mapping[str, str]) -> None:
    """Record the image's files as they are now, and its packages. Raises OSError."""
    files = {file: asdict(_record(directory / file)) for file in FILES}
    document = {"name": name, "key": key, "suite": spec.SUITE, "files": files, "packages": dict(packages)}
    (directory / "manifest.json").write_text(json.dumps(document, indent=1) + "\n")


def damage(directory: Path, *, full: bool = False) -> str | None:
    """What is wrong with a built image, in one line, or None.

    Sizes and modification times are compared; contents only where a time differs, or all of them when `full`.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        return f"{directory}/manifest.json is missing or unreadable"
    for name, recorded in manifest.files.items():
        path = directory / name
        try:
            status = path.stat()
        except OSError:
            return f"{path} is missing"
        if status.st_size != recorded.size:
            return f"{path} has {status.st_size} bytes, {recorded.size} were written"
        if (full or status.st_mtime_ns != recorded.mtime_ns) and file_digest(path) != recorded.sha256:
            return f"{path} does not have the contents that were written"
    return None


def parts(name: str, root: Path) -> list[str]:
    """What a build of the image has to make: the layers that are not in the cache, and the image itself."""
    layers = {"base": base_layer(root), f"{name} packages": packages_layer(root, name)}
    return [*(part for part, path in layers.items() if not path.exists()), f"{name} image"]


def seconds(root: Path | None = None) -> dict[str, float]:
    """What each part of a build took the last time on this host; empty before the first."""
    try:
        found = json.loads(((root or cache_root()) / _SECONDS).read_text())
        return {str(part): float(took) for part, took in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def learn_seconds(took: Mapping[str, float], root: Path) -> None:
    """Keep them for the next estimate."""
    document = {**seconds(root), **{part: round(value, 1) for part, value in took.items()}}
    (root / _SECONDS).write_text(json.dumps(document, indent=1) + "\n")


def outdated(root: Path | None = None) -> list[Path]:
    """Built images and layers that today's sources do not lead to, oldest first. A VM may still boot from one."""
    top = root or cache_root()
    current = {image_directory(name, top) for name in spec.NAMES} | layer_paths(top)
    found = [*(top / "images").glob("*-????????????"), *(top / "layers").glob("*.tar.zst")]
    return sorted((path for path in found if path not in current), key=lambda path: path.stat().st_mtime)


def remove(path: Path) -> None:
    """Remove an image's directory or a layer."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def base_layer(root: Path) -> Path:
    """The archive that all images begin with; `root`: the cache. It need not exist."""
    return root / "layers" / f"base-{spec.base_key()[:12]}.tar.zst"


def packages_layer(root: Path, name: str) -> Path:
    """The archive of an image's packages; it need not exist. Raises FileNotFoundError for a name that is no image's."""
    return root / "layers" / f"{name}-{spec.packages_key(name)[:12]}.tar.zst"


def layer_paths(root: Path) -> set[Path]:
    """Every layer that today's lists and scripts ask for."""
    return {base_layer(root), *(packages_layer(root, name) for name in spec.NAMES)}


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(path: Path) -> Recorded:
    status = path.stat()
    return Recorded(status.st_size, status.st_mtime_ns, file_digest(path))
