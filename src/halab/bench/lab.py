"""A stack of the bench's own: its name, its state, and halab's commands on it. No stack of a user is touched."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.topology import Topology, derive
from components.variant import CONFIG_KEY, parse
from halab.errors import HalabError, RefusedError
from halab.host.machine import meminfo
from halab.stacks.budget import QEMU_OVERHEAD
from halab.workspace import write_text

#: This very halab.
CHECKOUT = Path(__file__).resolve().parents[3]
#: Which variables of the caller mean a user's stack, and must not reach the bench's commands.
_NOT_OURS = ("HALAB_STACK", "HALAB_PROJECT")


@dataclass(frozen=True, slots=True)
class Run:
    """One command that ended well: what it took, and its standard output."""

    seconds: float
    stdout: str

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdout)
        return found


class Lab:
    """`stack`: the bench's name for it; `described`: its file's own part; `folder`: all that the bench keeps.

    The project it runs on is a folder of links to the checkout with one stack file of its own.
    """

    def __init__(self, stack: str, described: Mapping[str, Any], folder: Path) -> None:
        """Raises StackError for a name that is none, or a description with mistakes."""
        self.stack, self.folder = stack, folder
        self.state, self.project = folder / "state", folder / "project"
        self.log = folder / f"{stack}.log"
        self._described = dict(described)
        self.topology: Topology = derive(parse(stack, self._described))

    def _prepare(self) -> None:
        for path in (self.state, self.project / "stacks"):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        # what libvirt once found out of this host's qemu, and the KVM probe: a user's second up knows them too
        shared = self.folder.parent
        for name in ("cache", "probe.json"):
            if (shared / name).exists() and not (self.state / name).exists():
                (self.state / name).symlink_to(shared / name)
        for path in CHECKOUT.iterdir():
            if path.name not in ("stacks", ".git"):
                link = self.project / path.name
                link.unlink(missing_ok=True)
                link.symlink_to(path)
        document = {"config": {CONFIG_KEY: self._described}}
        write_text(self.project / "stacks" / f"Pulumi.{self.stack}.yaml", yaml.safe_dump(document, sort_keys=False))

    @contextmanager
    def session(self) -> Iterator[Lab]:
        """The stack may be used within; it is down before and after. Raises RefusedError when it cannot begin."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RefusedError(f"another bench with VMs is under way on this host ({lock.name})") from None
            self._prepare()
            self.log.unlink(missing_ok=True)
            self.run("down")
            self._refuse_short_memory()
            try:
                yield self
            finally:
                self.run("down")

    def _refuse_short_memory(self) -> None:
        need, there = sum(node.memory + QEMU_OVERHEAD for node in self.topology.nodes), meminfo("MemAvailable")
        if need > there:
            raise RefusedError(
                f"bench: {need - there} MiB of memory short: {self.stack}'s VMs take {need}, "
                f"{there} are available; take a stack down (./halab down), or bench a smaller one"
            )

    def command(self, name: str, *arguments: str, stack: str | None = None) -> list[str]:
        """./halab NAME --stack … ARGUMENTS; `--` and what follows stay last."""
        return [str(CHECKOUT / "halab"), name, "--stack", stack or self.stack, *arguments]

    def group(self, *names: str) -> list[str]:
        """./halab NAMES… --stack …"""
        return [str(CHECKOUT / "halab"), *names, "--stack", self.stack]

    def run(self, name: str, *arguments: str, stack: str | None = None, stdin: str | None = None) -> Run:
        """Raises HalabError with the command's last line where it fails; all it says is in `log`."""
        command = self.command(name, *arguments, stack=stack)
        return self.execute(command, stdin)

    def execute(self, command: Sequence[str], stdin: str | None = None) -> Run:
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {' '.join(command[:12])}\n")
            log.flush()
            began = time.monotonic()
            done = subprocess.run(
                command,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self.environment(),
                cwd=CHECKOUT,
                check=False,
            )
            seconds = time.monotonic() - began
            log.write(f"{done.stdout}\n-- exit {done.returncode} after {seconds:.1f} s\n")
        if done.returncode:
            raise HalabError(
                f"bench: {Path(command[0]).name} {' '.join(command[1:8])} ended with {done.returncode}: "
                f"{self._last_words()} (log: {self.log})"
            )
        return Run(seconds, done.stdout)

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
        own = {"HALAB_STATE": self.state, "HALAB_PROJECT": self.project}
        python = {"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'src'}", "PYTHONSAFEPATH": "1"}
        return {**kept, **{name: str(path) for name, path in own.items()}, **python}

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-2].strip() if len(lines) > 1 else "it said nothing"

    def wait(self, what: str, limit: float, ready: Callable[[], str]) -> float:
        """Seconds until `ready` answers "" (anything else is why not yet). Raises HalabError after `limit` seconds."""
        began = time.monotonic()
        while why := ready():
            if time.monotonic() - began > limit:
                raise HalabError(f"bench: waited {limit:.0f} s for {what}; last seen: {why} (log: {self.log})")
        return time.monotonic() - began


def described(path: Path) -> dict[str, Any]:
    """A stack file's own part, its addresses left to follow from the bench's name. Raises RefusedError."""
    document: Any = None
    with suppress(OSError, yaml.YAMLError):
        document = yaml.safe_load(path.read_text())
    try:
        found = dict(document["config"][CONFIG_KEY])
    except (KeyError, TypeError, ValueError):
        raise RefusedError(f"{path}: no stack file with {CONFIG_KEY}") from None
    return {key: value for key, value in found.items() if key not in ("networks", "cloud")}
