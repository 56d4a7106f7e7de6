"""A stack's network and mount namespaces, held open by one sleeping process and by every daemon in them."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

from halab.embedded.hypervisor.paths import HypervisorError, Paths
from halab.embedded.hypervisor.processes import Process

SETUP = Path(__file__).with_name("namespace.sh")
_CLONE_NEWNET = 0x40000000


def inside(process: Process) -> list[str]:
    """What to put before a command so that it runs in the mount and network namespace of `process`."""
    return ["nsenter", "--target", str(process.pid), "--mount", "--net", "--"]


def hold(paths: Paths, neighbour: Process | None, *, kvm: bool, gid: int, lock: int) -> None:
    """Start a holder: in the network namespace of `neighbour`, else in a new one; always with a mount namespace new.

    Several mount namespaces of a stack differ in nothing: each binds the same folders. `kvm`: whether /dev/kvm is for
    qemu to use; `gid`: the group qemu runs as. `lock`: a locked file that stays locked until all is made, also when
    this process dies.
    """
    before = ["nsenter", "--target", str(neighbour.pid), "--net", "--"] if neighbour else []
    fresh = [] if neighbour else ["--net"]
    command = [*before, "unshare", "--mount", "--propagation", "slave", *fresh, "--", str(SETUP)]
    log = paths.log / "namespace.log"
    environment = {
        **os.environ,
        "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
        "HALAB_ROOT": str(paths.root),
        "HALAB_CACHE": str(paths.cache),
        "HALAB_HOLDER": f"halab-stack-{paths.stack}",
        "HALAB_KVM": "yes" if kvm else "no",
        "HALAB_QEMU_GID": str(gid),
        "HALAB_LOCK": str(lock),
    }
    with log.open("wb") as out:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            cwd="/",
            check=False,
            pass_fds=(lock,),
        )
    if done.returncode:
        raise HypervisorError(f"namespaces of stack {paths.stack} not made: {tail(log)}")


def tail(log: Path, lines: int = 3) -> str:
    """The last lines of a log on one line, with its path: the end of an error message."""
    try:
        found = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        found = []
    return f"{' | '.join(found[-lines:]) or 'nothing logged'} (log: {log})"


def enter_network(process: Process) -> None:
    """Move the calling process into the network namespace of `process`.

    setns(2) moves one thread, and threads started later follow it: call this while there is only one.
    Raises HypervisorError when there are more, or without the right to (CAP_SYS_ADMIN).
    """
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise HypervisorError(f"enter() must come before any thread is started: this process already has {threads}")
    fd = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise HypervisorError(f"setns into the network namespace of pid {process.pid}: {os.strerror(code)}")
    finally:
        os.close(fd)
