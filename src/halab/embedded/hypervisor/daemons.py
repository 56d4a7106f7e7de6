"""The configuration files of a stack's libvirtd and virtlogd, how each is started, and whether libvirtd answers."""

from __future__ import annotations

import os
import pwd
import socket
import struct
import subprocess
import time
import uuid
from pathlib import Path

from halab.embedded.hypervisor.namespaces import inside, tail
from halab.embedded.hypervisor.paths import HypervisorError, Paths
from halab.embedded.hypervisor.processes import Process

_UUIDS = uuid.UUID("5a0c9a52-6b3f-4bb8-9f0e-0a5d0b0d7c11")
QEMU_USER = "libvirt-qemu"
START_LIMIT = 60.0
"""Seconds for a daemon to come up: two seconds alone, many times that beside VMs that boot under emulation."""

# the smallest call libvirt's protocol has: program, version, REMOTE_PROC_AUTH_LIST, call, serial, status
_PING = struct.pack(">7I", 28, 0x20008086, 1, 66, 0, 1, 0)


def libvirtd_conf(stack: str) -> str:
    """libvirtd.conf: one unix socket for root, its mode instead of polkit, up to 64 calls at once.

    Its `host_uuid` derives from the stack, so that a domain saved here is taken back after a reboot of the host.
    """
    return "\n".join(
        [
            "listen_tls = 0",
            "listen_tcp = 0",
            'unix_sock_group = "root"',
            'unix_sock_rw_perms = "0700"',
            'unix_sock_ro_perms = "0700"',
            'unix_sock_admin_perms = "0700"',
            'auth_unix_ro = "none"',
            'auth_unix_rw = "none"',
            "max_workers = 20",
            "max_client_requests = 64",
            "keepalive_interval = -1",
            f'host_uuid = "{uuid.uuid5(_UUIDS, stack)}"',
            'log_outputs = "3:file:/var/log/libvirt/libvirtd.log"',
            "",
        ]
    )


def qemu_conf(user: str, gid: int) -> str:
    """qemu.conf: unprivileged qemu, files handed to it on start and taken back on stop (dynamic_ownership).

    `cgroup_controllers` is empty so that nothing depends on systemd or on a writable cgroup tree. `security_driver` is
    left to libvirt: AppArmor or SELinux where the host has it, else file ownership alone.
    """
    return "\n".join(
        [
            f'user = "{user}"',
            f'group = "+{gid}"',
            "dynamic_ownership = 1",
            "cgroup_controllers = []",
            "set_process_name = 1",
            'stdio_handler = "logd"',
            'vnc_listen = "127.0.0.1"',
            "max_core = 0",
            "",
        ]
    )


def virtlogd_conf() -> str:
    """virtlogd.conf: a console log keeps its last 3 x 8 MiB."""
    return "\n".join(
        [
            "max_size = 8388608",
            "max_backups = 2",
            'log_outputs = "3:file:/var/log/libvirt/virtlogd.log"',
            "",
        ]
    )


def qemu_gid() -> int:
    """The group qemu runs as: the primary group of libvirt-qemu (kvm on Debian and Ubuntu)."""
    try:
        return pwd.getpwnam(QEMU_USER).pw_gid
    except KeyError:
        raise HypervisorError(f"no user {QEMU_USER}: its package is missing; run halab doctor") from None


def lay_out(paths: Paths) -> None:
    """Make the stack's folders and write the daemons' configuration; what is already right stays untouched."""
    paths.root.mkdir(parents=True, exist_ok=True)
    paths.root.chmod(0o700)
    for folder in paths.folders:
        folder.mkdir(exist_ok=True)
        # qemu walks through lib and pool as an unprivileged user
        folder.chmod(0o700 if folder in {paths.keys, paths.fence} else 0o711 if folder == paths.pool else 0o755)
    # folders that packages bring and libvirt does not make: MAC tables of networks, logs of VMs, locks of consoles
    for folder in (paths.lib / "dnsmasq", paths.log / "qemu", paths.run / "lock"):
        folder.mkdir(exist_ok=True)
    paths.cache.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "libvirtd.conf": libvirtd_conf(paths.stack),
        "qemu.conf": qemu_conf(QEMU_USER, qemu_gid()),
        "virtlogd.conf": virtlogd_conf(),
    }.items():
        write(paths.etc / name, text.encode())


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file atomically; nobody else can read it at any moment when `mode` says so."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as out:
        os.fchmod(out.fileno(), mode)
        out.write(content)
    beside.replace(path)


def start_daemon(paths: Paths, holder: Process, program: str) -> None:
    """Start `program` ("libvirtd" or "virtlogd") in the holder's namespaces; returns when it is ready."""
    log = paths.log / f"{program}.start.log"
    command = [*inside(holder), program, "--daemon", "--pid-file", f"/run/{program}.pid"]
    command += ["--config", f"/etc/libvirt/{program}.conf"]
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "LC_ALL", "TMPDIR"}}
    # polkit, machined and firewalld of the host must not be asked about this stack
    kept["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/run/no-bus-in-this-namespace"
    kept["PATH"] = f"{kept.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    with log.open("wb") as out:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=kept,
                cwd="/",
                check=False,
                timeout=START_LIMIT,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise HypervisorError(
                f"{program} of stack {paths.stack} not up after {START_LIMIT:.0f} s: {tail(log)}"
            ) from None
    if done.returncode:
        own = paths.log / f"{program}.log"
        raise HypervisorError(
            f"{program} of stack {paths.stack} did not start ({done.returncode}): {tail(log)}; {tail(own)}"
        )


def answers(path: Path, limit: float) -> bool:
    """Whether libvirtd on this socket answers a call within `limit` seconds."""
    deadline = time.monotonic() + limit
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(limit)
        try:
            client.connect(str(path))
            client.sendall(_PING)
            reply = b""
            while len(reply) < 28:
                client.settimeout(max(0.001, deadline - time.monotonic()))
                part = client.recv(4096)
                if not part:
                    return False
                reply += part
        except OSError:
            return False
    return reply[4:8] == _PING[4:8]
