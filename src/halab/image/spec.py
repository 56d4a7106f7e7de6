"""What an image is made of, and the keys that follow from it. Pure apart from reading the files of `images/`.

A tree is built in layers, each cached by its own key: the base (common packages), the packages of one image on top of
it, and the bootable image from that. A change of a script that only assembles does not install packages again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

#: The checkout's `images/`.
SOURCES = Path(__file__).resolve().parents[3] / "images"
NAMES = ("controller", "compute", "storage", "gateway")
SUITE = "trixie"
#: Virtual size of the root disk, bytes: overlays of at least this size fit, larger ones are grown into at boot.
ROOT_SIZE = 8 << 30
#: Raised when this package changes what it does with the same sources.
BUILDER = "1"

_BASE_SCRIPTS = ("layer-base.sh",)
_INSTALL_SCRIPTS = ("layer-install.sh", "tree.sh")
_ASSEMBLE_SOURCES = (
    "assemble.sh",
    "tree.sh",
    "finish.sh",
    "kernel.sh",
    "masked-units.list",
    "masked-generators.list",
    "masked-udev-rules.list",
    "initrd",
    "files",
)


def entries(text: str) -> tuple[str, ...]:
    """The entries of a list file: one per line, `#` lines and empty lines left out."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def packages(name: str, sources: Path = SOURCES) -> tuple[str, ...]:
    """Debian packages listed for an image of NAMES, or for `base`. Raises FileNotFoundError."""
    return entries((sources / f"{name}.list").read_text())


def base_key(sources: Path = SOURCES) -> str:
    """Key of the layer that all images share: 64 hex digits."""
    return _digest([BUILDER, SUITE, *sorted(packages("base", sources)), *_contents(sources, _BASE_SCRIPTS)])


def packages_key(name: str, sources: Path = SOURCES) -> str:
    """Key of an image's tree with its packages installed: 64 hex digits."""
    return _digest([base_key(sources), *sorted(packages(name, sources)), *_contents(sources, _INSTALL_SCRIPTS)])


def image_key(name: str, sources: Path = SOURCES) -> str:
    """Key of a bootable image, a hash over everything it is built from: 64 hex digits. Raises FileNotFoundError."""
    own = [own for own in (f"{name}.sh", name) if (sources / own).exists()]
    return _digest([packages_key(name, sources), name, str(ROOT_SIZE), *_contents(sources, (*_ASSEMBLE_SOURCES, *own))])


def _contents(sources: Path, names: Iterable[str]) -> Iterable[str]:
    for name in names:
        top = sources / name
        files = sorted(path for path in top.rglob("*") if path.is_file()) if top.is_dir() else [top]
        for path in files:
            executable = bool(path.stat().st_mode & 0o100)
            yield f"{path.relative_to(sources)} {executable} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
