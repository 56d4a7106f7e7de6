"""A stack's own hypervisor: libvirtd, virtlogd and fence_virtd in namespaces of the stack's own."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from halab.embedded.hypervisor import bridges
from halab.embedded.hypervisor.daemons import START_LIMIT, answers, lay_out, qemu_gid, start_daemon
from halab.embedded.hypervisor.fence import Fence, FenceConfig
from halab.embedded.hypervisor.leftovers import files, mounts
from halab.embedded.hypervisor.namespaces import enter_network, hold, inside, tail
from halab.embedded.hypervisor.paths import HypervisorError, Paths
from halab.embedded.hypervisor.processes import Process, end, namespace_processes, stack_processes
from halab.embedded.hypervisor.waiting import wait_for
from halab.host.probe import virt_type

_RECORD = "namespaces.json"
_HUNG = 10.0


@dataclass(frozen=True, slots=True)
class Status:
    """`running`: libvirtd answers on `uri`. `processes`: what lives of the stack, qemu included."""

    stack: str
    uri: str
    running: bool
    processes: tuple[Process, ...]

    @property
    def rss(self) -> int:
        """Bytes of memory that the hypervisor itself holds, its VMs left out."""
        return sum(process.rss for process in self.processes if not process.role.startswith("qemu"))


class Hypervisor:
    """The embedded hypervisor of one stack. As root; every method may be called at any time, by any process."""

    def __init__(self, stack: str, state: Path | None = None, kvm: bool | None = None) -> None:
        """Nothing is started. `state`: the folder of all stacks, default `state_folder()`; `kvm`: whether VMs may use
        KVM, default what `halab.host.probe` finds. Raises HypervisorError for a stack name that cannot be one.
        """
        self.paths = Paths.of(stack, state)
        self.kvm = kvm
        self.fence = Fence(self.paths)

    @property
    def uri(self) -> str:
        """The libvirt URI of this stack, usable from outside its namespaces."""
        return self.paths.uri

    def start(self, fence: FenceConfig | None = None) -> None:
        """Make it run: heal what is dead, start what is missing, leave what runs.

        Returns when libvirtd answers. With `fence`, fence_virtd is (re)started too, for which its bridge must exist;
        one configured earlier is started again when it has died and its bridge is there: after a reboot of the host
        that is so only at a second `start`, with the networks started in between. A VM whose virtlogd was killed runs
        on; its console log ends there. Raises HypervisorError.
        """
        if os.geteuid() != 0:
            raise HypervisorError(
                f"the embedded hypervisor of stack {self.paths.stack} needs root: run as root, or use a system libvirtd"
            )
        with self._locked() as lock:
            self._end_orphans()
            self._forget_earlier_boot()
            lay_out(self.paths)
            holder = self._held(lock)
            restarted = self._serve(holder)
            if fence is not None:
                self.fence.configure(fence)
                self.fence.start(inside(holder))
            elif self._fence_wanted(holder) and (restarted or not self.fence.listening()):
                self.fence.start(inside(holder))

    def start_fence(self, config: FenceConfig) -> None:
        """Write key and configuration, (re)start fence_virtd on the stack's bridge. Raises HypervisorError."""
        with self._locked():
            self.fence.configure(config)
            self.fence.start(inside(self._holder()))

    def stop_fence(self) -> None:
        """End fence_virtd and delete its key and configuration."""
        with self._locked():
            self.fence.remove()

    def stop(self) -> list[str]:
        """End every process of the stack, its VMs too: with the last one the namespaces, mounts and bridges vanish.

        What is stored (domains, volumes, logs, the fence key) stays for the next start. Returns what is left after all.
        """
        with self._locked():
            return self._stop()

    def remove(self) -> list[str]:
        """`stop`, then delete everything the hypervisor kept: domains, networks, volumes, leases, keys, logs.

        Returns `leftovers()`: empty is the proof that nothing is left.
        """
        with self._locked():
            left = self._stop()
            if left:
                return left
            for folder in self.paths.folders:
                with suppress(FileNotFoundError):
                    shutil.rmtree(folder)
            (self.paths.root / _RECORD).unlink(missing_ok=True)
            with suppress(OSError):
                self.paths.root.rmdir()
            left = self.leftovers()
        if not left:
            self.paths.lock.unlink(missing_ok=True)
        return left

    def status(self) -> Status:
        processes = tuple(self.processes())
        running = any(one.role == "libvirtd" for one in processes) and answers(self.paths.socket, _HUNG)
        return Status(self.paths.stack, self.uri, running, processes)

    def processes(self) -> list[Process]:
        return stack_processes(self.paths.run)

    def enter(self) -> None:
        """Move the calling process into the stack's network namespace, where the guests' addresses are reachable.

        To be called while the process has a single thread. Raises HypervisorError when the stack does not run.
        """
        enter_network(self._holder())

    def inside(self) -> list[str]:
        """What to put before a command to run it in the stack's mount and network namespaces."""
        return inside(self._holder())

    def leftovers(self) -> list[str]:
        """What of the stack still exists on this host, a line each."""
        processes = self.processes()
        found = [f"process {one.pid} ({one.role})" for one in processes]
        netns = self._recorded_netns(processes)
        if netns is not None:
            mine = {one.pid for one in processes} | {os.getpid()}
            inhabitants = namespace_processes(netns)
            strangers = [one for one in inhabitants if one.pid not in mine]
            found += [f"process {one.pid} ({one.role}) in the network namespace" for one in strangers]
            if inhabitants and inhabitants[0].pid != os.getpid():
                found += [f"network namespace {netns}"]
                found += [f"link {name}" for name in _links(inhabitants[0])]
        return [*found, *mounts(self.paths), *files(self.paths)]

    def _stop(self) -> list[str]:
        processes = self.processes()
        netns = self._recorded_netns(processes)
        # libvirtd first, lest it note as a crash what is an end; then its VMs, the logs they write, the namespaces
        self.fence.stop()
        for roles in (("libvirtd",), ("qemu",), ()):
            left = end(lambda roles=roles: _with_role(self.processes(), roles), grace=5.0 if roles else 2.0)  # type: ignore[misc]
            if left:
                return [f"process {one.pid} ({one.role}) does not end" for one in left]
        if self.paths.run.exists():
            shutil.rmtree(self.paths.run)
        (self.paths.root / _RECORD).unlink(missing_ok=True)
        if netns is None:
            return mounts(self.paths)
        strangers = [one for one in namespace_processes(netns) if one.pid != os.getpid()]
        return mounts(self.paths) + [
            f"process {one.pid} ({one.role}) still uses the stack's network namespace" for one in strangers
        ]

    def _held(self, lock: int) -> Process:
        """The holder, new when it was dead; its network namespace is that of whatever of the stack still lives."""
        processes = self.processes()
        holder = _role(processes, "holder")
        if holder is None:
            if not processes:
                self._forget_autostarts()
            kvm = virt_type(self.paths.root.parent.parent).kvm if self.kvm is None else self.kvm
            hold(self.paths, processes[0] if processes else None, kvm=kvm, gid=qemu_gid(), lock=lock)
            wait_for(lambda: _role(self.processes(), "holder") is not None, 30.0)
            holder = self._holder()
        self._record(holder)
        return holder

    def _holder(self) -> Process:
        holder = _role(self.processes(), "holder")
        if holder is None:
            raise HypervisorError(
                f"the hypervisor of stack {self.paths.stack} is not running: {tail(self.paths.log / 'namespace.log')}"
            )
        return holder

    def _serve(self, holder: Process) -> bool:
        """virtlogd and libvirtd up and answering; True when libvirtd had to be started."""
        if _role(self.processes(), "virtlogd") is None:
            start_daemon(self.paths, holder, "virtlogd")
        libvirtd = _role(self.processes(), "libvirtd")
        if libvirtd is not None:
            if answers(self.paths.socket, _HUNG):
                return False
            self._end("libvirtd", grace=0.0)
        bridges.forget_unnoted(self.paths, holder)
        start_daemon(self.paths, holder, "libvirtd")
        if not wait_for(lambda: answers(self.paths.socket, _HUNG), START_LIMIT):
            raise HypervisorError(
                f"libvirtd of stack {self.paths.stack}: no answer on {self.paths.socket} in {START_LIMIT:.0f} s: "
                f"{tail(self.paths.log / 'libvirtd.log')}"
            )
        return True

    def _end(self, role: str, grace: float) -> None:
        if left := end(lambda: _with_role(self.processes(), (role,)), grace):
            raise HypervisorError(f"{role} of stack {self.paths.stack}: pid {left[0].pid} does not end")

    def _end_orphans(self) -> None:
        """Processes whose folders were deleted under them cannot be healed."""

        def orphans() -> list[Process]:
            return [one for one in self.processes() if one.orphaned]

        if left := end(orphans, grace=2.0):
            raise HypervisorError(
                f"process {left[0].pid} ({left[0].role}) runs on deleted folders of stack {self.paths.stack} and "
                "does not end"
            )

    def _forget_earlier_boot(self) -> None:
        """Sockets, pids and the state of domains from before a reboot of the host say nothing any more."""
        record = self._read_record()
        if record.get("boot") not in {None, _boot_id()} and not self.processes():
            shutil.rmtree(self.paths.run, ignore_errors=True)

    def _forget_autostarts(self) -> None:
        """libvirt starts its autostarted networks and pools once a boot; with the namespaces gone it must again."""
        for driver in ("network", "storage", "qemu"):
            (self.paths.run / "libvirt" / driver / "autostarted").unlink(missing_ok=True)

    def _fence_wanted(self, holder: Process) -> bool:
        if self.fence.held or not self.fence.config_file.exists():
            return False
        bridge = self.fence.bridge()
        return bridge in _links(holder)

    def _record(self, holder: Process) -> None:
        text = json.dumps({"boot": _boot_id(), "netns": holder.netns})
        path = self.paths.root / _RECORD
        if not path.exists() or path.read_text() != text:
            path.write_text(text)

    def _read_record(self) -> dict[str, object]:
        try:
            found = json.loads((self.paths.root / _RECORD).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _recorded_netns(self, processes: list[Process]) -> int | None:
        """The stack's network namespace: of what lives, else as noted when it was made (in this boot)."""
        if processes:
            return processes[0].netns
        record = self._read_record()
        netns = record.get("netns")
        return netns if record.get("boot") == _boot_id() and isinstance(netns, int) else None

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """One command at a time starts or stops a stack; the lock goes with the process that held it."""
        self.paths.lock.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            os.close(fd)


def _role(processes: list[Process], role: str) -> Process | None:
    return next((one for one in processes if one.role == role), None)


def _with_role(processes: list[Process], roles: tuple[str, ...]) -> list[Process]:
    """Those whose role is one of `roles` (a VM's role without its name); no roles: all."""
    return [one for one in processes if not roles or one.role.split(":")[0] in roles]


def _links(process: Process) -> list[str]:
    """The network interfaces in the network namespace of `process`, lo left out."""
    command = ["nsenter", "--target", str(process.pid), "--net", "--", "ip", "-json", "link", "show"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return []
    return [str(link["ifname"]) for link in json.loads(done.stdout or "[]") if link.get("ifname") != "lo"]


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
