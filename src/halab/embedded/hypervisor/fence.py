"""fence_virtd of a stack: fences the stack's VMs when a guest of the stack, with the stack's key, asks for it."""

from __future__ import annotations

import glob
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from halab.embedded.hypervisor.daemons import write
from halab.embedded.hypervisor.namespaces import tail
from halab.embedded.hypervisor.paths import HypervisorError, Paths
from halab.embedded.hypervisor.processes import Process, end, processes_with
from halab.embedded.hypervisor.waiting import wait_for

MULTICAST = "225.0.0.12"
PORT = 1229
KEY_BYTES = 512
START_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class FenceGroup:
    """Requests from `addresses` (IPv4 of guests) may fence `domains` (libvirt names, UUIDs); all else is refused."""

    name: str
    addresses: tuple[str, ...]
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FenceConfig:
    """`bridge`: the interface whose multicast is heard; `key`: 512 bytes shared with the guests of this stack only."""

    bridge: str
    key: bytes
    groups: tuple[FenceGroup, ...]


def render(bridge: str, key_file: Path, uri: str, module_path: Path, groups: Sequence[FenceGroup]) -> str:
    """fence_virt.conf(5). Raises ValueError for a value that its quoting cannot hold."""
    lines = [
        "fence_virtd {",
        '\tlistener = "multicast";',
        '\tbackend = "libvirt";',
        f"\tmodule_path = {_quoted(module_path)};",
        "}",
        "listeners {",
        "\tmulticast {",
        f"\t\tkey_file = {_quoted(key_file)};",
        f'\t\taddress = "{MULTICAST}";',
        f'\t\tport = "{PORT}";',
        f"\t\tinterface = {_quoted(bridge)};",
        '\t\tfamily = "ipv4";',
        "\t}",
        "}",
        "backends {",
        "\tlibvirt {",
        f"\t\turi = {_quoted(uri)};",
        "\t}",
        "}",
        "groups {",
    ]
    for group in groups:
        lines += ["\tgroup {", f"\t\tname = {_quoted(group.name)};"]
        lines += [f"\t\tip = {_quoted(address)};" for address in group.addresses]
        lines += [f"\t\tuuid = {_quoted(domain)};" for domain in group.domains]
        lines.append("\t}")
    return "\n".join([*lines, "}", ""])


def _quoted(value: object) -> str:
    text = str(value)
    if any(character in text for character in '"\\\n'):
        raise ValueError(f"{text!r} cannot stand in fence_virt.conf")
    return f'"{text}"'


def module_path() -> Path:
    """The folder of fence_virtd's modules."""
    found = sorted(glob.glob("/usr/lib/*/fence-virt")) or sorted(glob.glob("/usr/lib*/fence-virt"))
    if not found:
        raise HypervisorError("no modules of fence_virtd in /usr/lib/*/fence-virt: run halab doctor")
    return Path(found[0])


@dataclass(frozen=True, slots=True)
class Fence:
    """The fencing daemon of one stack. `prefix` runs a command where its libvirtd and bridge are; empty: on the host.

    `uri` is the libvirtd it fences through, as seen from there.
    """

    paths: Paths
    uri: str = "qemu:///system"

    @property
    def key_file(self) -> Path:
        return self.paths.keys / "fence_xvm.key"

    @property
    def config_file(self) -> Path:
        return self.paths.fence / "fence_virt.conf"

    @property
    def log(self) -> Path:
        return self.paths.log / "fence_virtd.log"

    @property
    def _held(self) -> Path:
        return self.paths.fence / "held"

    @property
    def held(self) -> bool:
        """Whether nobody may start the daemon for now, not even a command that heals what has died."""
        return self._held.exists()

    def hold(self) -> None:
        """End the daemon and keep it ended, over the death of this process too, until `release`."""
        self._held.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._held.touch(mode=0o600)
        self.stop()

    def release(self, prefix: Sequence[str]) -> None:
        """Undo `hold`: start the daemon if it was ever configured."""
        self._held.unlink(missing_ok=True)
        if self.config_file.exists() and not self.listening():
            self.start(prefix)

    def processes(self) -> list[Process]:
        """The living daemon: known by the configuration file on its command line, which no other stack has."""
        return processes_with("fence_virtd", str(self.config_file))

    def bridge(self) -> str | None:
        """The interface the written configuration names, None without one."""
        try:
            match = re.search(r'interface = "([^"]*)"', self.config_file.read_text())
        except OSError:
            return None
        return match[1] if match else None

    def configure(self, config: FenceConfig) -> None:
        """Write the key (0600) and the configuration. Raises ValueError for a key that is not 512 bytes."""
        if len(config.key) != KEY_BYTES:
            raise ValueError(f"fence key of stack {self.paths.stack}: {len(config.key)} bytes, not {KEY_BYTES}")
        self.paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.paths.keys, self.paths.fence, self.paths.log):
            folder.mkdir(exist_ok=True, mode=0o700)
        write(self.key_file, config.key)
        text = render(config.bridge, self.key_file, self.uri, module_path(), config.groups)
        write(self.config_file, text.encode())

    def start(self, prefix: Sequence[str]) -> None:
        """(Re)start the daemon from the files `configure` wrote; returns when it listens on its bridge."""
        self.stop()
        command = [*prefix, "setsid", "--fork", "fence_virtd", "-F", "-f", str(self.config_file)]
        command += ["-p", str(self.paths.fence / "pid")]
        environment = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
        with self.log.open("wb") as out:
            self.log.chmod(0o600)
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, cwd="/", check=False
            )
        if done.returncode:
            raise HypervisorError(f"fence_virtd of stack {self.paths.stack} did not start: {tail(self.log)}")
        if not wait_for(self.listening, START_LIMIT):
            seen = "it runs but does not listen" if self.processes() else "it ended"
            self.stop()
            raise HypervisorError(
                f"fence_virtd of stack {self.paths.stack}: awaited udp/{PORT} for {START_LIMIT:.0f} s, {seen}: "
                f"{tail(self.log)}"
            )

    def listening(self) -> bool:
        """Whether the daemon's socket is bound (in its own network namespace, by /proc/PID/net)."""
        for process in self.processes():
            try:
                table = Path(f"/proc/{process.pid}/net/udp").read_text()
            except OSError:
                continue
            if any(line.split()[1].endswith(f":{PORT:04X}") for line in table.splitlines()[1:]):
                return True
        return False

    def stop(self) -> None:
        """End the daemon; its key and configuration stay. Raises HypervisorError when it cannot be ended."""
        if left := end(self.processes, grace=2.0):
            raise HypervisorError(f"fence_virtd of stack {self.paths.stack}: pid {left[0].pid} does not end")

    def remove(self) -> None:
        """End the daemon and delete its key and configuration."""
        self.stop()
        for path in (self.key_file, self.config_file, self.paths.fence / "pid", self._held):
            path.unlink(missing_ok=True)
