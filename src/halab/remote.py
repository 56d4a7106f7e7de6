"""SSH to a stack's nodes: one connection per node, kept and renewed, every host key verified."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import asyncssh

from halab.errors import HalabError

T = TypeVar("T")
#: Seconds for a login: an emulated guest that boots or recovers takes half a minute over the handshake.
DIAL_LIMIT = 60.0


class RemoteError(HalabError):
    """A node that cannot be reached, or a script that failed there; `status` is its exit code, None if never run."""

    def __init__(self, node: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{node}: {message}")
        self.node, self.status = node, status


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    stdout: str
    stderr: str


class Remote:
    """`addresses`: node to IP; `key`: the stack's client key; `known_hosts`: the nodes' host keys, by address."""

    def __init__(self, addresses: Mapping[str, str], key: Path, known_hosts: Path, user: str = "root") -> None:
        self._addresses, self._key, self._known_hosts, self._user = dict(addresses), key, known_hosts, user
        self._connections: dict[str, asyncssh.SSHClientConnection] = {}
        self._dialing: dict[str, asyncio.Lock] = {node: asyncio.Lock() for node in self._addresses}

    async def __aenter__(self) -> Remote:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections.values():
            connection.abort()
        await asyncio.gather(*(c.wait_closed() for c in self._connections.values()), return_exceptions=True)

    async def run(self, node: str, script: str) -> str:
        """The script's stdout. Raises RemoteError where it cannot be run or fails."""
        outcome = await self.execute(node, script)
        if outcome.status:
            lines = (outcome.stderr.strip() or outcome.stdout.strip()).splitlines()
            raise RemoteError(node, f"exit {outcome.status}: {' | '.join(lines[-3:]) or 'no output'}", outcome.status)
        return outcome.stdout

    async def dial(self, node: str, *, limit: float | None = None) -> None:
        """Log in, unless that was done. Raises RemoteError where the node cannot be reached in time."""
        await self._within(node, self._connection, limit)

    async def execute(self, node: str, script: str, *, limit: float | None = None) -> Outcome:
        """`bash -s` as root with the script on stdin. Raises RemoteError where the node cannot be reached in time."""
        return await self._within(node, lambda node: self._execute(node, script), limit)

    async def _within(self, node: str, do: Callable[[str], Awaitable[T]], limit: float | None) -> T:
        if node not in self._addresses:
            raise RemoteError(node, f"no such node; there are: {', '.join(self._addresses)}")
        try:
            return await asyncio.wait_for(do(node), limit)
        except TimeoutError:
            self._forget(node)
            # without a limit of the caller's own it was the dialling that took too long
            raise RemoteError(node, f"no answer within {limit or DIAL_LIMIT:.0f} s") from None
        except asyncio.CancelledError:
            # whoever gave up may have done so because the connection leads nowhere any more
            self._forget(node)
            raise
        except (OSError, asyncssh.Error) as error:
            self._forget(node)
            raise RemoteError(node, f"ssh to {self._addresses[node]}: {_reason(error)}") from None

    async def _execute(self, node: str, script: str) -> Outcome:
        process = await self._open(node)
        stdout, stderr = await process.communicate(script)
        status = process.exit_status
        if status is None:
            raise asyncssh.ConnectionLost("the connection went before the script ended")
        return Outcome(status, str(stdout or ""), str(stderr or ""))

    async def _open(self, node: str) -> asyncssh.SSHClientProcess[str]:
        kept = node in self._connections
        try:
            return await (await self._connection(node)).create_process("bash -s")
        except (OSError, asyncssh.Error):
            if not kept:
                raise
            # the node may have been rebooted since: once more on a new connection; no script has begun
            self._forget(node)
            return await (await self._connection(node)).create_process("bash -s")

    async def _connection(self, node: str) -> asyncssh.SSHClientConnection:
        async with self._dialing[node]:
            found = self._connections.get(node)
            if found is None or found.is_closed():
                found = await asyncssh.connect(
                    self._addresses[node],
                    username=self._user,
                    client_keys=[str(self._key)],
                    known_hosts=str(self._known_hosts),
                    agent_path=None,
                    config=None,
                    connect_timeout=DIAL_LIMIT,
                    login_timeout=DIAL_LIMIT,
                    keepalive_interval=5,
                    keepalive_count_max=3,
                )
                self._connections[node] = found
            return found

    def _forget(self, node: str) -> None:
        if connection := self._connections.pop(node, None):
            connection.abort()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return (str(error) or type(error).__name__).splitlines()[0]
