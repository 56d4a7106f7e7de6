"""What a node boots, as the program is told of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file and the SHA-256 of its content in hex; the digest is what identifies it, wherever it lies."""

    path: Path
    digest: str


@dataclass(frozen=True, slots=True)
class Image:
    """A qcow2 root filesystem, and the kernel and initrd that boot it directly."""

    disk: ImageFile
    kernel: ImageFile
    initrd: ImageFile
