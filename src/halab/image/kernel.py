"""The ELF kernel inside a bzImage: QEMU boots it by PVH without the decompression that costs a guest half a second.

Source: Linux Documentation/arch/x86/boot.rst, the real-mode kernel header (boot protocol 2.08 and later).
"""

from __future__ import annotations

import subprocess

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ELF_MAGIC = b"\x7fELF"


class KernelError(ValueError):
    """The file is not a bzImage with a zstd payload."""


def zstd_payload(bzimage: bytes) -> bytes:
    """The zstd frame of a bzImage. Raises KernelError for another format or compression."""
    if bzimage[0x202:0x206] != b"HdrS" or int.from_bytes(bzimage[0x206:0x208], "little") < 0x208:
        raise KernelError("not a bzImage with boot protocol 2.08 or later")
    setup_sectors = bzimage[0x1F1] or 4
    start = (setup_sectors + 1) * 512 + int.from_bytes(bzimage[0x248:0x24C], "little")
    length = int.from_bytes(bzimage[0x24C:0x250], "little")
    # The last four bytes hold the uncompressed size, after the frame.
    payload = bzimage[start : start + length - 4]
    if not payload.startswith(ZSTD_MAGIC):
        raise KernelError("the kernel's payload is not compressed with zstd")
    return payload


def vmlinux(bzimage: bytes) -> bytes:
    """The ELF image of a bzImage, decompressed with the zstd program. Raises KernelError, CalledProcessError."""
    image = subprocess.run(["zstd", "-d", "-q", "-c"], input=zstd_payload(bzimage), stdout=subprocess.PIPE, check=True)
    if not image.stdout.startswith(ELF_MAGIC):
        raise KernelError("the kernel's payload is not an ELF image")
    return image.stdout
