"""Connections that callers share: one per endpoint, dialled until it answers, kept until it has been idle."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from halab.embedded.provider import Call, ProviderError
from halab.embedded.providers.command.endpoint import HANDSHAKE, Endpoint, Patience, options, tcp

SESSIONS = 8  # below sshd's MaxSessions of 10, one of which SFTP holds
RETRY_FIRST, RETRY_REFUSED, RETRY_ANSWERED = 0.1, 1.0, 5.0


@dataclass(slots=True)
class Attempt:
    """One call to an endpoint: its patience, and what has been tried so far, for the error message."""

    call: Call
    endpoint: Endpoint
    patience: Patience
    started: float = field(default_factory=time.monotonic)
    dials: int = 0
    connected: bool = False
    last: str = "none"
    task: asyncio.Task[Any] | None = None

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def unanswered(self, why: str) -> ProviderError:
        waited = time.monotonic() - self.started
        if self.connected:
            return ProviderError(f"ssh {self.endpoint}: the command did not end: {why} after {waited:.0f} s")
        return ProviderError(
            f"ssh {self.endpoint}: awaited an SSH login, {why} after {waited:.0f} s and {self.dials} dials, "
            f"last error: {self.last}: see the VM's console log"
        )


class Link:
    """A live connection, and how many use it."""

    def __init__(self, connection: asyncssh.SSHClientConnection, closed: Callable[[], None]) -> None:
        self.connection = connection
        self.sessions = asyncio.Semaphore(SESSIONS)
        self.users = 0
        self.retired = False
        self._sftp: asyncssh.SFTPClient | None = None
        self._sftp_lock = asyncio.Lock()
        self._closed: Callable[[], None] | None = closed

    def alive(self) -> bool:
        return not self.retired and not self.connection.is_closed()

    def close(self) -> None:
        self.retired = True
        self.connection.close()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()

    async def sftp(self) -> asyncssh.SFTPClient:
        """The connection's one SFTP session, begun when it is first asked for."""
        async with self._sftp_lock:
            if self._sftp is None:
                self._sftp = await self.connection.start_sftp_client()
            return self._sftp


@dataclass(slots=True)
class Slot:
    """The place of one endpoint: its lock is held while dialling."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    link: Link | None = None


class Connections:
    """The endpoints' connections. Everything here runs on one asyncio loop."""

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self._slots: dict[Endpoint, Slot] = {}

    @contextlib.asynccontextmanager
    async def use(self, attempt: Attempt) -> AsyncIterator[tuple[Link, bool]]:
        """The endpoint's live connection, dialled when there is none. Second: whether it was there already.

        Raises ProviderError when the attempt's patience is at its end, or a key cannot be read.
        """
        link, reused = await self._link(attempt, attempt.endpoint)
        attempt.connected = True
        link.users += 1
        try:
            yield link, reused
        finally:
            self._release(link)

    async def close(self) -> None:
        links = [slot.link for slot in self._slots.values() if slot.link is not None]
        self._slots.clear()
        for link in links:
            link.connection.abort()
        for link in links:
            await link.connection.wait_closed()

    def _release(self, link: Link) -> None:
        link.users -= 1
        if link.users:
            return
        if not link.alive():
            link.close()
        else:
            released = time.monotonic()
            asyncio.get_running_loop().call_later(self._idle, self._close_idle, link, released)
            link.connection.set_extra_info(released=released)

    @staticmethod
    def _close_idle(link: Link, released: float) -> None:
        if link.users == 0 and link.connection.get_extra_info("released") == released:
            link.close()

    async def _link(self, attempt: Attempt, endpoint: Endpoint) -> tuple[Link, bool]:
        slot = self._slots.setdefault(endpoint, Slot())
        failures, pause = 0, RETRY_FIRST
        while True:
            async with slot.lock:
                if slot.link is not None and slot.link.alive():
                    return slot.link, True
                if slot.link is not None and slot.link.users == 0:
                    slot.link.close()
                attempt.dials += 1
                dialled = time.monotonic()
                answered = asyncio.Event()
                try:
                    slot.link = await self._dial(attempt, endpoint, answered)
                    return slot.link, False
                except (asyncssh.Error, OSError, TimeoutError) as error:
                    failures += 1
                    attempt.last = words(error)
            if 0 <= attempt.patience.errors < failures:
                raise attempt.unanswered("gave up")
            if failures & (failures - 1) == 0:
                attempt.call.log("debug", f"ssh {endpoint}: dial {failures} failed: {attempt.last}")
            # Time spent waiting for TCP is pause enough; a peer that answered and failed gets its rest.
            await asyncio.sleep(pause if answered.is_set() else max(0.0, pause - (time.monotonic() - dialled)))
            pause = min(pause * 1.5, RETRY_ANSWERED if answered.is_set() else RETRY_REFUSED)

    async def _dial(self, attempt: Attempt, endpoint: Endpoint, answered: asyncio.Event) -> Link:
        """One try; `answered` is set as soon as the peer accepts TCP."""
        asked = options(endpoint)
        proxy: Link | None = None
        if endpoint.proxy is not None:
            proxy, _reused = await self._link(attempt, endpoint.proxy)
            proxy.users += 1
            asked["tunnel"] = proxy.connection
        try:
            if proxy is None:
                async with asyncio.timeout(attempt.patience.dial or None):
                    asked["sock"] = await tcp(endpoint)
                answered.set()
            async with asyncio.timeout(HANDSHAKE):
                connection = await asyncssh.connect(endpoint.host, endpoint.port, **asked)
        except BaseException:
            if "sock" in asked:
                asked["sock"].close()
            if proxy is not None:
                self._release(proxy)
            raise
        return Link(connection, closed=lambda: self._release(proxy) if proxy is not None else None)


def words(error: BaseException) -> str:
    """What an error says of itself; its type's name where it says nothing."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    return str(error) or type(error).__name__
