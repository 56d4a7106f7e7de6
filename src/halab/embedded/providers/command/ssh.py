"""SSH for many callers: one asyncio thread, one connection per endpoint, many sessions on it.

A handshake costs an emulated guest about a second of CPU, so a connection stays open until it has been idle for
IDLE seconds. Ciphers and key exchange are the cheap modern ones; nothing is compressed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import posixpath
import shlex
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from halab.embedded.provider import Call, ProviderError
from halab.embedded.providers.command.output import Capture

IDLE = 60.0
HANDSHAKE = 120.0  # an emulated guest under load takes its time; a redial would only make it slower
OPENING = 60.0
DRAIN = 10.0  # for the output after the exit status: a daemon left behind may hold it open for ever
SESSIONS = 8  # below sshd's MaxSessions of 10, one of which SFTP holds
RETRY_FIRST, RETRY_REFUSED, RETRY_ANSWERED = 0.1, 1.0, 5.0
KEX = ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
CIPHERS = ("chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes128-ctr")
POLL = 0.25
ENDING = 15.0
GONE = (
    asyncssh.DisconnectError,
    asyncssh.ChannelOpenError,
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    OSError,
)
MARK = b"halab-session:"
ANNOUNCE = "echo halab-session:$$ >&2\n"
END_SESSION = (Path(__file__).parent / "end_session.sh").read_bytes()
NOTES = "/run/halab-session."
ALONE = (Path(__file__).parent / "alone.sh").read_text()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and as whom; equal endpoints share a connection. `host_key` is a line of authorized_keys form or None."""

    host: str
    port: int = 22
    user: str = "root"
    private_key: str | None = field(default=None, repr=False)
    private_key_password: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    agent_socket: str | None = None
    host_key: str | None = None
    proxy: Endpoint | None = None

    def __str__(self) -> str:
        via = f" via {self.proxy}" if self.proxy else ""
        return f"{self.user}@{self.host}:{self.port}{via}"


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to dial: `errors` failed dials are forgiven (-1: any number); `dial` seconds each, 0 for no limit."""

    errors: int = 10
    dial: float = 15.0


@dataclass(slots=True)
class Progress:
    """What has been tried so far, for the error message."""

    endpoint: Endpoint
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
        self.sftp: asyncssh.SFTPClient | None = None
        self.sftp_lock = asyncio.Lock()
        self._closed: Callable[[], None] | None = closed

    def alive(self) -> bool:
        return not self.retired and not self.connection.is_closed()

    def close(self) -> None:
        self.retired = True
        self.connection.close()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


@dataclass(slots=True)
class Slot:
    """The place of one endpoint: its lock is held while dialling."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    link: Link | None = None


class Session(asyncssh.SSHClientSession[bytes]):
    """One running command. `status` stays None when the connection ended before the command did.

    `leader` is the remote session's id: the first line of stderr, written by ANNOUNCE and taken out here. sshd sends
    no signal to a command of root, so this is how a command is ended.
    """

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.status: int | None = None
        self.leader: int | None = None
        self.announced = asyncio.Event()
        self.exited = asyncio.Event()
        self.ended = asyncio.Event()
        self._first: bytes | None = b""

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype != asyncssh.EXTENDED_DATA_STDERR:
            self.capture.out(data)
            return
        if self._first is not None:
            self._first += data
            line, newline, rest = self._first.partition(b"\n")
            if not newline and MARK.startswith(line[: len(MARK)]):
                return
            data = self._first
            self._first = None
            if line.startswith(MARK) and line[len(MARK) :].isdigit():
                self.leader = int(line[len(MARK) :])
                data = rest
            self.announced.set()
        if data:
            self.capture.err(data)

    def exit_status_received(self, status: int) -> None:
        self.status = status
        self.exited.set()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self.capture.err(f"ended by signal {signal}\n".encode())
        self.status = 255
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.announced.set()
        self.exited.set()
        self.ended.set()

    async def finished(self) -> None:
        """Returns when the command has ended and its output is here."""
        await self.exited.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                await self.ended.wait()


class Ssh:
    """The pool. Its methods block and may be called from any thread; they raise ProviderError."""

    def __init__(self, idle: float = IDLE) -> None:
        asyncssh.set_log_level(logging.WARNING)  # it logs commands and environments at INFO
        self._idle = idle
        self._slots: dict[Endpoint, Slot] = {}
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
        progress = Progress(endpoint)
        command = alone(call.urn) + command
        return self._wait(
            call, progress, self._run(progress, patience, call, command, capture, stdin.encode(), environment or {})
        )

    def write(
        self, call: Call, endpoint: Endpoint, patience: Patience, path: str, content: bytes, *, name: str | None = None
    ) -> None:
        """Write a remote file, making its parents. In an existing directory it is called `name`."""
        progress = Progress(endpoint)
        self._wait(call, progress, self._write(progress, patience, call, path, content, name))

    def close(self) -> None:
        """Close every connection and end the thread."""
        with self._start:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._close_all(), loop).result(OPENING)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(OPENING)
        loop.close()

    def _wait(self, call: Call, progress: Progress, coroutine: Coroutine[Any, Any, T]) -> T:
        loop = self._running()
        future = asyncio.run_coroutine_threadsafe(self._bounded(call, progress, coroutine), loop)
        while not wait([future], timeout=POLL).done:
            if call.cancelled.is_set():
                loop.call_soon_threadsafe(progress.cancel)
                wait([future], timeout=ENDING)
                raise progress.unanswered("cancelled")
        return future.result()

    @staticmethod
    async def _bounded(call: Call, progress: Progress, coroutine: Coroutine[Any, Any, T]) -> T:
        progress.task = asyncio.current_task()
        limit = asyncio.timeout(call.timeout)
        try:
            async with limit:
                return await coroutine
        except TimeoutError:
            if limit.expired():
                raise progress.unanswered("gave up at the limit") from None
            raise
        except (asyncssh.Error, OSError) as error:
            raise ProviderError(f"ssh {progress.endpoint}: {_words(error)}") from error

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._start:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="halab-ssh", daemon=True)
                self._thread.start()
            return self._loop

    async def _run(
        self,
        progress: Progress,
        patience: Patience,
        call: Call,
        command: str,
        capture: Capture,
        stdin: bytes,
        environment: Mapping[str, str],
    ) -> int:
        while True:
            async with self._use(progress, patience, call) as (link, reused), link.sessions:
                opened = await _open(link, command, capture, environment, reused=reused)
                if opened is None:
                    link.retired = True  # it went away while idle, and nothing was started on it
                    progress.connected = False
                    continue
                channel, session = opened
                try:
                    if stdin:
                        channel.write(stdin)
                    channel.write_eof()
                    await session.finished()
                except asyncio.CancelledError:
                    await _end(link, channel, session)
                    raise
                except (asyncssh.Error, OSError):
                    await session.finished()  # it ended without reading its input
                finally:
                    channel.close()
                if session.status is None:
                    raise ProviderError(f"ssh {progress.endpoint}: the connection was lost while the command ran")
                return session.status

    async def _write(
        self, progress: Progress, patience: Patience, call: Call, path: str, content: bytes, name: str | None
    ) -> None:
        while True:
            async with self._use(progress, patience, call) as (link, reused):
                try:
                    await _put(await _sftp(link), progress.endpoint, path, content, name)
                    return
                except GONE:
                    link.retired = True
                    progress.connected = False
                    if not reused:
                        raise

    @contextlib.asynccontextmanager
    async def _use(self, progress: Progress, patience: Patience, call: Call) -> AsyncIterator[tuple[Link, bool]]:
        link, reused = await self._link(progress.endpoint, progress, patience, call)
        progress.connected = True
        link.users += 1
        try:
            yield link, reused
        finally:
            self._release(link)

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

    async def _link(self, endpoint: Endpoint, progress: Progress, patience: Patience, call: Call) -> tuple[Link, bool]:
        """The endpoint's live connection, dialled when there is none. Second: whether it was there already."""
        slot = self._slots.setdefault(endpoint, Slot())
        failures, pause = 0, RETRY_FIRST
        while True:
            async with slot.lock:
                if slot.link is not None and slot.link.alive():
                    return slot.link, True
                if slot.link is not None and slot.link.users == 0:
                    slot.link.close()
                progress.dials += 1
                dialled = time.monotonic()
                answered = [False]
                try:
                    slot.link = await self._dial(endpoint, progress, patience, call, answered)
                    return slot.link, False
                except (asyncssh.Error, OSError, TimeoutError) as error:
                    failures += 1
                    progress.last = _words(error)
            if 0 <= patience.errors < failures:
                raise progress.unanswered("gave up")
            if failures & (failures - 1) == 0:
                call.log("debug", f"ssh {endpoint}: dial {failures} failed: {progress.last}")
            # Time spent waiting for TCP is pause enough; a peer that answered and failed gets its rest.
            await asyncio.sleep(pause if answered[0] else max(0.0, pause - (time.monotonic() - dialled)))
            pause = min(pause * 1.5, RETRY_ANSWERED if answered[0] else RETRY_REFUSED)

    async def _dial(
        self, endpoint: Endpoint, progress: Progress, patience: Patience, call: Call, answered: list[bool]
    ) -> Link:
        options = _options(endpoint)
        limit = patience.dial or None
        proxy: Link | None = None
        if endpoint.proxy is not None:
            proxy, _reused = await self._link(endpoint.proxy, progress, patience, call)
            proxy.users += 1
            options["tunnel"] = proxy.connection
        try:
            if proxy is None:
                async with asyncio.timeout(limit):
                    options["sock"] = await _tcp(endpoint)
                answered[0] = True
            async with asyncio.timeout(HANDSHAKE):
                connection = await asyncssh.connect(endpoint.host, endpoint.port, **options)
        except BaseException:
            if "sock" in options:
                options["sock"].close()
            if proxy is not None:
                self._release(proxy)
            raise
        return Link(connection, closed=lambda: self._release(proxy) if proxy is not None else None)

    async def _close_all(self) -> None:
        links = [slot.link for slot in self._slots.values() if slot.link is not None]
        self._slots.clear()
        for link in links:
            link.connection.abort()
        for link in links:
            await link.connection.wait_closed()
        await asyncio.get_running_loop().shutdown_default_executor()


def alone(urn: str) -> str:
    """The lines of shell that go before a command for it to be the only one of its URN on its host."""
    note = f"{NOTES}{hashlib.sha256(urn.encode()).hexdigest()[:16]}"
    return f"halab_at={note}\nhalab_end={shlex.quote(END_SESSION.decode())}\n{ALONE}"


async def _open(
    link: Link, command: str, capture: Capture, environment: Mapping[str, str], *, reused: bool
) -> tuple[asyncssh.SSHClientChannel[bytes], Session] | None:
    """Start the command. None when a reused connection proved dead before the command could have been started."""
    opened = asyncio.Event()
    session = Session(capture)

    def confirmed() -> Session:
        opened.set()
        return session

    variables = [f"{name}={value}" for name, value in environment.items()]
    starting = asyncio.create_task(
        link.connection.create_session(confirmed, ANNOUNCE + command, env=variables, encoding=None, request_pty=False)
    )
    confirmation = asyncio.create_task(opened.wait())
    try:
        await asyncio.wait(
            {starting, confirmation}, timeout=OPENING if reused else None, return_when=asyncio.FIRST_COMPLETED
        )
        if not opened.is_set() and not starting.done():
            return None
        channel, _session = await asyncio.shield(starting)
        return channel, session
    except asyncio.CancelledError:
        if opened.is_set():
            with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
                async with asyncio.timeout(ENDING):
                    channel, _session = await starting
                await _end(link, channel, session)
        raise
    except (asyncssh.Error, OSError):
        if reused and not opened.is_set():
            return None
        raise
    finally:
        starting.cancel()
        confirmation.cancel()


async def _end(link: Link, channel: asyncssh.SSHClientChannel[bytes], session: Session) -> None:
    """End the remote session's processes."""
    with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
        async with asyncio.timeout(ENDING):
            await session.announced.wait()
            if session.leader is not None:
                await link.connection.run(f"sh -s {session.leader}", input=END_SESSION, encoding=None)
    channel.abort()


async def _sftp(link: Link) -> asyncssh.SFTPClient:
    async with link.sftp_lock:
        if link.sftp is None:
            link.sftp = await link.connection.start_sftp_client()
        return link.sftp


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


async def _tcp(endpoint: Endpoint) -> socket.socket:
    loop = asyncio.get_running_loop()
    error: OSError | None = None
    for family, kind, protocol, _name, address in await loop.getaddrinfo(
        endpoint.host, endpoint.port, type=socket.SOCK_STREAM
    ):
        connecting = socket.socket(family, kind, protocol)
        connecting.setblocking(False)
        try:
            await loop.sock_connect(connecting, address)
        except OSError as failed:
            connecting.close()
            error = failed
        except BaseException:
            connecting.close()
            raise
        else:
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connecting
    raise error or OSError(f"{endpoint.host} has no address")


def _options(endpoint: Endpoint) -> dict[str, Any]:
    """asyncssh's options. Nothing of the user's own SSH configuration, keys or agent is used unless it is named."""
    try:
        keys = (
            [asyncssh.import_private_key(endpoint.private_key, endpoint.private_key_password)]
            if endpoint.private_key
            else None
        )
        host_key = asyncssh.import_public_key(endpoint.host_key) if endpoint.host_key else None
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        raise ProviderError(f"ssh {endpoint}: a key cannot be read: {error}") from None
    return {
        "config": None,
        "username": endpoint.user,
        "client_keys": keys if keys or not endpoint.agent_socket else (),
        "agent_path": endpoint.agent_socket,
        "password": endpoint.password,
        "known_hosts": None if host_key is None else ([host_key], [], []),
        "kex_algs": KEX,
        "encryption_algs": CIPHERS,
        "compression_algs": None,
        "gss_host": None,
        "x509_trusted_certs": None,
        "keepalive_interval": 30,
        "keepalive_count_max": 6,
        "login_timeout": HANDSHAKE,
    }


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    return str(error) or type(error).__name__
