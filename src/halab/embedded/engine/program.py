"""The program's process: started at once, told its settings when the engine is ready, watched until it ends."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from halab.embedded.engine.config import Project
from halab.embedded.engine.launcher import REPORTED

LAUNCHER = Path(__file__).with_name("launcher.py")
_ENGINE_ENV = (
    "PULUMI_CONFIG",
    "PULUMI_CONFIG_SECRET_KEYS",
    "PULUMI_CONFIG_PASSPHRASE",
    "PULUMI_CONFIG_PASSPHRASE_FILE",
)


class Program:
    """A running program. It has a session of its own, so that a Ctrl-C on the terminal reaches only the engine."""

    def __init__(self, project: Project, python: str, env: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._project = project
        inherited = {key: value for key, value in os.environ.items() if key not in _ENGINE_ENV}
        # gRPC would send even loopback traffic through a proxy of the environment.
        inherited |= {"no_grpc_proxy": "127.0.0.1", "PULUMI_ERROR_OUTPUT_STRING": "true", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [python, "-P", str(LAUNCHER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**inherited, **env},
            cwd=project.root,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.stderr_tail: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, say, False), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, say, True), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def start(self, settings: Mapping[str, Any]) -> None:
        """Hands over the settings; the program begins."""
        main = self._project.main
        directory, program = (main.parent, main.name) if main.is_file() else (main, ".")
        line = json.dumps({**settings, "directory": str(directory), "program": program}) + "\n"
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.close()
        except BrokenPipeError:
            return  # it died already; wait() says so

    def wait(self) -> str:
        """Waits for the end; returns "" for success, else what went wrong."""
        code = self._process.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        if code == 0:
            return ""
        if code == REPORTED:
            return "the program failed"
        tail = f": {self.stderr_tail[-1]}" if self.stderr_tail else ""
        return f"the program ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}{tail}"

    def kill(self) -> None:
        """Ends the program at once, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()

    def _read(self, stream: IO[str], say: Callable[[str], None], errors: bool) -> None:
        for line in stream:
            text = line.rstrip("\n")
            if errors:
                self.stderr_tail = [*self.stderr_tail[-4:], text]
            say(text)
