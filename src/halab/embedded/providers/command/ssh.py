"""SSH for many callers: one asyncio thread, one connection per endpoint, many sessions on it.

A handshake costs an emulated guest about a second of CPU, so a connection stays open until it has been idle for
IDLE seconds.
"""

from __future__ import annotations

import asyncio
import logging
import posixpath
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import wait
from typing import Any, TypeVar

import asyncssh

from halab.embedded.provider import Call, ProviderError
from halab.embedded.providers.command.connections import Attempt, Connections, words
from halab.embedded.providers.command.endpoint import Endpoint, Patience
from halab.embedded.providers.command.output import Capture
from halab.embedded.providers.command.session import ENDING, alone, end, start

IDLE = 60.0
CLOSING = 60.0
POLL = 0.25
GONE = (
    asyncssh.DisconnectError,
    asyncssh.ChannelOpenError,
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    OSError,
)

T = TypeVar("T")


class Ssh:
    """The thread and its connections. The methods block and may be called from any thread; they raise ProviderError."""

    def __init__(self, idle: float = IDLE) -> None:
        asyncssh.set_log_level(logging.WARNING)  # it logs commands and environments at INFO
        self._connections = Connections(idle)
        self._start = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(
        self,
        call: Call,
        endpoint: Endpoint,
        patience: Patience,
        command: str,
        *,
        capture: Capture,
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Run a command; its exit status. What it prints goes to `capture`.

        What a process that died left running there for the same URN is ended first.
        """
        attempt = Attempt(call, endpoint, patience)
        command = alone(call.urn) + command
        return self._wait(attempt, self._run(attempt, command, capture, stdin.encode(), environment or {}))

    def write(
        self, call: Call, endpoint: Endpoint, patience: Patience, path: str, content: bytes, *, name: str | None = None
    ) -> None:
        """Write a remote file, making its parents. In an existing directory it is called `name`."""
        attempt = Attempt(call, endpoint, patience)
        self._wait(attempt, self._write(attempt, path, content, name))

    def close(self) -> None:
        """Close every connection and end the thread."""
        with self._start:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._close_all(), loop).result(CLOSING)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSING)
        loop.close()

    def _wait(self, attempt: Attempt, coroutine: Coroutine[Any, Any, T]) -> T:
        loop = self._running()
        future = asyncio.run_coroutine_threadsafe(_bounded(attempt, coroutine), loop)
        while not wait([future], timeout=POLL).done:
            if attempt.call.cancelled.is_set():
                loop.call_soon_threadsafe(attempt.cancel)
                wait([future], timeout=ENDING)
                raise attempt.unanswered("cancelled")
        return future.result()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._start:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="halab-ssh", daemon=True)
                self._thread.start()
            return self._loop

    async def _run(
        self, attempt: Attempt, command: str, capture: Capture, stdin: bytes, environment: Mapping[str, str]
    ) -> int:
        while True:
            async with self._connections.use(attempt) as (link, reused), link.sessions:
                opened = await start(link.connection, command, capture, environment, reused=reused)
                if opened is None:
                    link.retired = True  # it went away while idle, and nothing was started on it
                    attempt.connected = False
                    continue
                channel, session = opened
                try:
                    if stdin:
                        channel.write(stdin)
                    channel.write_eof()
                    await session.finished()
                except asyncio.CancelledError:
                    await end(link.connection, channel, session)
                    raise
                except (asyncssh.Error, OSError):
                    await session.finished()  # it ended without reading its input
                finally:
                    channel.close()
                if session.status is None:
                    raise ProviderError(f"ssh {attempt.endpoint}: the connection was lost while the command ran")
                return session.status

    async def _write(self, attempt: Attempt, path: str, content: bytes, name: str | None) -> None:
        while True:
            async with self._connections.use(attempt) as (link, reused):
                try:
                    await _put(await link.sftp(), attempt.endpoint, path, content, name)
                    return
                except GONE:
                    link.retired = True
                    attempt.connected = False
                    if not reused:
                        raise

    async def _close_all(self) -> None:
        await self._connections.close()
        await asyncio.get_running_loop().shutdown_default_executor()


async def _bounded(attempt: Attempt, coroutine: Coroutine[Any, Any, T]) -> T:
    attempt.task = asyncio.current_task()
    limit = asyncio.timeout(attempt.call.timeout)
    try:
        async with limit:
            return await coroutine
    except TimeoutError:
        if limit.expired():
            raise attempt.unanswered("gave up at the limit") from None
        raise
    except (asyncssh.Error, OSError) as error:
        raise ProviderError(f"ssh {attempt.endpoint}: {words(error)}") from error


async def _put(sftp: asyncssh.SFTPClient, endpoint: Endpoint, path: str, content: bytes, name: str | None) -> None:
    if await sftp.isdir(path):
        if name is None:
            raise ProviderError(f"ssh {endpoint}: {path} is a directory: a text asset needs the path of a file")
        path = posixpath.join(path, name)
    try:
        await _put_file(sftp, path, content)
    except asyncssh.SFTPNoSuchFile:
        await sftp.makedirs(posixpath.dirname(path), exist_ok=True)
        await _put_file(sftp, path, content)


async def _put_file(sftp: asyncssh.SFTPClient, path: str, content: bytes) -> None:
    async with sftp.open(path, "wb") as file:
        await file.write(content)
