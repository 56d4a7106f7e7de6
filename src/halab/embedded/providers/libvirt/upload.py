"""A local file's bytes into a volume, holes as holes: past libvirt where its files are in reach, else through it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from halab.embedded.provider import Call, ProviderError
from halab.embedded.providers.libvirt.host import Host, api

SYSTEM_SOCKET = "/var/run/libvirt/libvirt-sock"
CHUNK = 32 << 20
_NO_RANGE_COPY = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


class Watch:
    """Ends a long copy at the operation's limit or its cancellation."""

    def __init__(self, call: Call, name: str, size: int) -> None:
        self._call, self._name, self._size = call, name, size
        self._deadline = None if call.timeout is None else time.monotonic() + call.timeout

    def copied(self, count: int, at: int) -> None:
        """Nothing can be read before the end only where there is a shorter end now."""
        if count == 0:
            raise ProviderError(f"Volume {self._name}: its source was cut to {at} of {self._size} bytes meanwhile")

    def check(self) -> None:
        if self._call.cancelled.is_set():
            raise ProviderError(f"Volume {self._name}: upload cancelled")
        if self._deadline is not None and time.monotonic() > self._deadline:
            limit = f"{self._call.timeout:.0f} s"
            raise ProviderError(f"Volume {self._name}: upload of {self._size} bytes took longer than {limit}")


def upload(host: Host, call: Call, pool: Any, volume: Any, source: int) -> None:
    """Fill the new raw volume, all zeros yet, with the open file. Deletes the volume when that fails."""
    size = os.fstat(source).st_size
    watch = Watch(call, volume.name(), size)
    try:
        if not _copied(host, call, pool, volume, source, size, watch):
            _streamed(host, volume, source, size, watch)
    except BaseException:
        volume.delete(0)
        raise


def _copied(host: Host, call: Call, pool: Any, volume: Any, source: int, size: int, watch: Watch) -> bool:
    """Write the volume's file itself, several times faster than a stream. False when it is not in reach."""
    seen = daemon_view(host.uri, volume.path())
    if seen is None:
        return False
    try:
        target = os.open(seen, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        empty = os.fstat(target)
        if (empty.st_size, empty.st_blocks) != (size, 0):
            return False
        for start, end in data_sections(source, size):
            _copy_range(source, target, start, end, watch)
        written = os.fstat(target).st_blocks > 0
    finally:
        os.close(target)
    host.refresh(pool, call)
    # The daemon sees that its empty file was filled: what was written here was the volume indeed.
    return not written or bool(volume.info()[2] > 0)


def daemon_view(uri: str, path: str) -> str | None:
    """How this process names a path of the local daemon at `uri`, which may live in a mount namespace of its own."""
    url = urlsplit(uri)
    if url.hostname or url.path != "/system" or url.scheme not in {"qemu", "qemu+unix"}:
        return None
    address = parse_qs(url.query).get("socket", [SYSTEM_SOCKET])[0]
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(address)
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    pid: int = struct.unpack("3i", credentials)[0]
    return f"/proc/{pid}/root{path}" if pid > 0 else None


def data_sections(source: int, size: int, at: int = 0) -> Iterator[tuple[int, int]]:
    """Start and end of every section of the file, from `at` on, that is not a hole. Moves the file's offset."""
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        at = min(os.lseek(source, start, os.SEEK_HOLE), size)
        yield start, at


def _copy_range(source: int, target: int, start: int, end: int, watch: Watch) -> None:
    by_range = True
    while start < end:
        watch.check()
        if by_range:
            try:
                copied = os.copy_file_range(source, target, min(CHUNK, end - start), start, start)
                watch.copied(copied, start)
                start += copied
                continue
            except OSError as error:
                if error.errno not in _NO_RANGE_COPY:
                    raise
                by_range = False
        os.lseek(target, start, os.SEEK_SET)
        copied = os.sendfile(target, source, start, min(CHUNK, end - start))
        watch.copied(copied, start)
        start += copied


def _streamed(host: Host, volume: Any, source: int, size: int, watch: Watch) -> None:
    libvirt = api()
    stream = host.connection().newStream(0)

    def data(_stream: Any, length: int, _opaque: None) -> bytes:
        watch.check()
        return os.read(source, length)

    def section(_stream: Any, _opaque: None) -> tuple[bool, int]:
        at = os.lseek(source, 0, os.SEEK_CUR)
        start, end = next(data_sections(source, size, at), (size, size))
        os.lseek(source, at, os.SEEK_SET)
        return (True, end - at) if start == at < size else (False, start - at)

    def skip(_stream: Any, length: int, _opaque: None) -> int:
        os.lseek(source, length, os.SEEK_CUR)
        return 0

    os.lseek(source, 0, os.SEEK_SET)
    volume.upload(stream, 0, size, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)
    try:
        stream.sparseSendAll(data, section, skip, None)
        stream.finish()
    except BaseException:
        with contextlib.suppress(libvirt.libvirtError):  # sendAll may have aborted it already
            stream.abort()
        raise
