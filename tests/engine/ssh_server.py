"""SSH servers on the loopback interface: a private sshd, and asyncssh's own where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import asyncssh

from tests.recipe.stand_in import reserved

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def until(condition: Callable[[], bool], what: str, limit: float = 60) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"awaited {what} for {limit} s"
        time.sleep(0.02)


class Server(Protocol):
    port: int

    def logins(self) -> int: ...
    def drop(self) -> None: ...


class Sshd:
    """A private OpenSSH sshd on the loopback interface."""

    def __init__(self, folder: Path, host: asyncssh.SSHKey, client: asyncssh.SSHKey) -> None:
        assert SSHD is not None
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._held = contextlib.ExitStack()
        self.port = self._held.enter_context(reserved())
        host.write_private_key(folder / "host")
        (folder / "host").chmod(0o600)
        (folder / "authorized").write_text(client.export_public_key().decode())
        self._log = folder / "log"
        (folder / "config").write_text(
            f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
            f"PermitRootLogin yes\nAcceptEnv HALAB_*\nSubsystem sftp internal-sftp\nPidFile none\nLogLevel VERBOSE\n"
        )
        self._process = subprocess.Popen(
            [
                SSHD,
                "-D",
                "-f",
                folder / "config",
                "-E",
                self._log,
                "-p",
                str(self.port),
                "-o",
                "ListenAddress=127.0.0.1",
            ]
        )
        until(lambda: self._log.exists() and "Server listening" in self._log.read_text(), "sshd's start")

    def logins(self) -> int:
        return self._log.read_text().count("Accepted publickey")

    def drop(self) -> None:
        """Kill what serves the open connections, not the listener."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def stop(self) -> None:
        self.drop()
        self._process.terminate()
        self._process.wait(60)
        self._held.close()


class Library:
    """asyncssh's own server, for hosts without sshd."""

    def __init__(self, host: asyncssh.SSHKey, client: asyncssh.SSHKey, port: int = 0) -> None:
        self._connections: list[asyncssh.SSHServerConnection] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        connections, authorized = self._connections, client.export_public_key().decode()

        class Accept(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                connections.append(conn)

            def begin_auth(self, username: str) -> bool:
                connections[-1].set_authorized_keys(asyncssh.import_authorized_keys(authorized))
                return True

        self._server = self._do(
            asyncssh.create_server(
                Accept,
                "127.0.0.1",
                port,
                server_host_keys=[host],
                process_factory=self._process,
                sftp_factory=True,
                encoding=None,
            )
        )
        self.port = self._server.get_port()

    @staticmethod
    async def _process(process: asyncssh.SSHServerProcess[bytes]) -> None:
        env = {key.decode(): value.decode() for key, value in (process.channel.get_environment_bytes()).items()}
        child = await asyncio.create_subprocess_shell(
            process.command or "",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **{key: value for key, value in env.items() if key.startswith("HALAB_")}},
            start_new_session=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None

        async def feed(into: asyncio.StreamWriter) -> None:
            while data := await process.stdin.read(65536):
                into.write(data)
            into.close()

        async def pump(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
            while data := await source.read(65536):
                target.write(data)

        pumps = [
            asyncio.create_task(pump(child.stdout, process.stdout)),
            asyncio.create_task(pump(child.stderr, process.stderr)),
            asyncio.create_task(feed(child.stdin)),
        ]
        try:
            await asyncio.gather(*pumps[:2])
            process.exit(await child.wait())
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await _ended(pumps)
            await child.communicate()

    def _do(self, awaitable: Any) -> Any:
        async def wait() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result(60)

    async def _closed(self) -> None:
        # In the loop's thread: closing wakes its waiters, as the last connection's end does, and may not do so twice.
        self._server.close()
        await self._server.wait_closed()
        await _ended([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])

    def logins(self) -> int:
        return len(self._connections)

    def drop(self) -> None:
        for connection in self._connections:
            self._loop.call_soon_threadsafe(connection.abort)

    def stop(self) -> None:
        self.drop()
        self._do(self._closed())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


HOST, CLIENT = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
PEM = CLIENT.export_private_key().decode()  # every export differs
