"""One command on a node: started on a connection, and ended with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path

import asyncssh

from halab.embedded.providers.command.output import Capture

OPENING = 60.0
DRAIN = 10.0  # for the output after the exit status: a daemon left behind may hold it open for ever
ENDING = 15.0
MARK = b"halab-session:"
ANNOUNCE = "echo halab-session:$$ >&2\n"
END_SESSION = (Path(__file__).parent / "end_session.sh").read_bytes()
NOTES = "/run/halab-session."
ALONE = (Path(__file__).parent / "alone.sh").read_text()


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


def alone(urn: str) -> str:
    """The lines of shell that go before a command for it to be the only one of its URN on its host."""
    note = f"{NOTES}{hashlib.sha256(urn.encode()).hexdigest()[:16]}"
    return f"halab_at={note}\nhalab_end={shlex.quote(END_SESSION.decode())}\n{ALONE}"


async def start(
    connection: asyncssh.SSHClientConnection,
    command: str,
    capture: Capture,
    environment: Mapping[str, str],
    *,
    reused: bool,
) -> tuple[asyncssh.SSHClientChannel[bytes], Session] | None:
    """Start the command. None when a reused connection proved dead before the command could have been started."""
    opened = asyncio.Event()
    session = Session(capture)

    def confirmed() -> Session:
        opened.set()
        return session

    variables = [f"{name}={value}" for name, value in environment.items()]
    starting = asyncio.create_task(
        connection.create_session(confirmed, ANNOUNCE + command, env=variables, encoding=None, request_pty=False)
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
                await end(connection, channel, session)
        raise
    except (asyncssh.Error, OSError):
        if reused and not opened.is_set():
            return None
        raise
    finally:
        starting.cancel()
        confirmation.cancel()


async def end(
    connection: asyncssh.SSHClientConnection, channel: asyncssh.SSHClientChannel[bytes], session: Session
) -> None:
    """End the remote session's processes."""
    with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
        async with asyncio.timeout(ENDING):
            await session.announced.wait()
            if session.leader is not None:
                await connection.run(f"sh -s {session.leader}", input=END_SESSION, encoding=None)
    channel.abort()
