"""One hypervisor: the connection, its locks, and its errors in words."""

from __future__ import annotations

import contextlib
import importlib
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from halab.embedded.provider import Call, ProviderError

REFRESH_LIMIT = 120.0

T = TypeVar("T")
_CHILD = re.compile(
    r"(?:internal error: )?Child process \((?:\w+=\S* )*(\S+).*\) unexpected exit status (\d+)", re.DOTALL
)


def api() -> Any:
    """The libvirt module, imported on first use so that a preview needs neither the library nor a daemon."""
    return importlib.import_module("libvirt")


class Host:
    """A libvirt connection, opened on first use and again when the daemon closed it. Safe to use from many threads."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.defining = threading.Lock()  # bridge numbers are handed out without a lock inside libvirt
        self._lock = threading.Lock()
        self._connection: Any = None
        self._pool_locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)

    def connection(self) -> Any:
        """The live virConnect. Raises ProviderError when nothing answers at the URI."""
        libvirt = api()
        with self._lock:
            if self._connection is not None and alive(self._connection):
                return self._connection
            libvirt.registerErrorHandler(lambda _context, _error: None, None)
            try:
                self._connection = libvirt.open(self.uri)
            except libvirt.libvirtError as error:
                raise ProviderError(
                    f"libvirt at {self.uri} does not answer: {error.get_error_message()}: run ./halab doctor"
                ) from error
            return self._connection

    def lost(self) -> bool:
        """Whether there was a connection and the daemon at its other end is gone."""
        with self._lock:
            return self._connection is not None and not alive(self._connection)

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(api().libvirtError):  # the daemon may be gone, the connection with it
                connection.close()

    def pool_lock(self, pool: str) -> threading.RLock:
        """Held while a pool's list of volumes changes: libvirt refuses a refresh during a build, and the reverse."""
        with self._lock:
            return self._pool_locks[pool]

    def pool(self, name: str) -> Any:
        """The active pool of that name. Raises ProviderError when there is none."""
        pool = find(lambda: self.connection().storagePoolLookupByName(name), "VIR_ERR_NO_STORAGE_POOL")
        if pool is None:
            raise ProviderError(f"there is no storage pool {name} at {self.uri}")
        if not pool.isActive():
            with self.pool_lock(name):
                if not pool.isActive():
                    pool.create(0)
        return pool

    def volume(self, key: str) -> Any | None:
        """The volume with that key (its path, in a directory pool), or None."""
        return find(lambda: self.connection().storageVolLookupByKey(key), "VIR_ERR_NO_STORAGE_VOL")

    def refresh(self, pool: Any, call: Call) -> None:
        """Read the pool's directory again; waits, with a limit, for the pool's running jobs."""
        libvirt = api()
        name = pool.name()
        deadline = time.monotonic() + (call.timeout or REFRESH_LIMIT)
        while True:
            try:
                with self.pool_lock(name):
                    pool.refresh(0)
                return
            except libvirt.libvirtError as error:
                if "asynchronous jobs" not in str(error) or time.monotonic() > deadline:
                    raise ProviderError(f"storage pool {name} cannot be read: {error.get_error_message()}") from error
            if call.cancelled.wait(0.1):
                raise ProviderError(f"cancelled while waiting for the running jobs of storage pool {name}")


def find(lookup: Callable[[], T], absent: str) -> T | None:
    """What the lookup gives, or None when libvirt answers with the error code named `absent`."""
    libvirt = api()
    try:
        return lookup()
    except libvirt.libvirtError as error:
        if error.get_error_code() == getattr(libvirt, absent):
            return None
        raise


def said(error: Any) -> str:
    """What a libvirtError says, without the command lines and environments of the programs libvirt ran."""
    return _CHILD.sub(r"\1 ended with exit status \2", str(error)).strip()


def alive(connection: Any) -> bool:
    """Whether the daemon at the other end of a virConnect still answers."""
    try:
        return bool(connection.isAlive())
    except api().libvirtError:
        return False


def gone(error: Any, *codes: str) -> bool:
    """Whether a libvirtError says that the object is not there (any more)."""
    libvirt = api()
    return error.get_error_code() in {getattr(libvirt, code) for code in codes}
