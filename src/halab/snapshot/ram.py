"""RAM images as libvirt writes them: where each is, and whether it can be relied on."""

from __future__ import annotations

import struct
from pathlib import Path

#: A file that is finished begins with this (qemu_saveimage.h); then come version, length of libvirt's own part beyond
#: the header, a flag, and the format.
_FINISHED, _FIELDS, _HEADER = b"LibvirtQemudSave", "<4I", 92
#: Raw and sparse: what follows is qemu's own, which begins with this.
_PLAIN, _STREAM = (0, 6), b"QEVM"


def image(folder: Path, node: str) -> Path:
    return folder / f"{node}.save"


def is_whole(path: Path) -> bool:
    """Whether a RAM image is there, libvirt finished it, and qemu wrote something into it."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER)
            if len(head) < _HEADER or not head.startswith(_FINISHED):
                return False
            _, length, _, form = struct.unpack_from(_FIELDS, head, len(_FINISHED))
            file.seek(_HEADER + length)
            return form not in _PLAIN or file.read(len(_STREAM)) == _STREAM
    except OSError:
        return False
