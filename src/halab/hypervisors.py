"""Which hypervisor a stack lives on: the system's libvirtd when it answers, a named URI, else the embedded one."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from halab.embedded.hypervisor.hypervisor import Hypervisor
from halab.errors import RefusedError
from halab.workspace import Workspace

SYSTEM = "qemu:///system"
EMBEDDED = "embedded"
_ANSWER_LIMIT = 10.0
SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")


@dataclass(frozen=True, slots=True)
class Choice:
    """`uri` is what the engine's libvirt provider dials; `why` ends the sentence that tells the user."""

    embedded: bool
    uri: str
    why: str

    @property
    def name(self) -> str:
        """What the stack's record keeps."""
        return EMBEDDED if self.embedded else self.uri

    def __str__(self) -> str:
        return f"hypervisor: {'embedded' if self.embedded else self.uri} ({self.why})"


def answers(uri: str, limit: float = _ANSWER_LIMIT) -> bool:
    """Whether a libvirtd answers there within `limit` seconds."""
    virsh = shutil.which("virsh")
    if virsh is None:
        return False
    try:
        done = subprocess.run(
            [virsh, "--quiet", "-c", uri, "version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def choose(workspace: Workspace) -> Choice:
    """A stack that is up stays where it is; else by its file. Raises RefusedError where nothing can run it."""
    record = workspace.record()
    asked = workspace.topology.stack.hypervisor.uri
    if record and record.hypervisor:
        if record.hypervisor == EMBEDDED:
            return _embedded(workspace, "the stack is up on it")
        return Choice(False, record.hypervisor, "the stack is up on it")
    if asked == "embedded":
        return _embedded(workspace, "the stack file says so")
    if asked == "system":
        return Choice(False, SYSTEM, "the stack file says so")
    if asked != "auto":
        return Choice(False, asked, "the stack file says so")
    if any(Path(path).exists() for path in SOCKETS) and answers(SYSTEM):
        return Choice(False, SYSTEM, "it answers")
    return _embedded(workspace, "no system libvirtd answers")


def _embedded(workspace: Workspace, why: str) -> Choice:
    if os.geteuid() != 0:
        raise RefusedError(
            f"{workspace.stack}: the embedded hypervisor ({why}) needs root, and nothing answers on {SYSTEM}: "
            "run as root, or start libvirtd and join the group libvirt"
        )
    return Choice(True, Hypervisor(workspace.stack, workspace.state).uri, why)


def reach(workspace: Workspace) -> Hypervisor | None:
    """Move this process to where the stack's addresses are; None for a stack that is not on the embedded hypervisor.

    To be called while the process has one thread. Raises RefusedError for a stack that is not up.
    """
    record = workspace.record()
    if record is None or not record.hypervisor:
        raise RefusedError(f"{workspace.stack}: not up (nothing recorded in {workspace.record_file}); run ./halab up")
    if record.hypervisor != EMBEDDED:
        return None
    if os.geteuid() != 0:
        raise RefusedError(f"{workspace.stack}: it lives on the embedded hypervisor, which only root can enter")
    hypervisor = Hypervisor(workspace.stack, workspace.state)
    if not any(one.role == "holder" for one in hypervisor.processes()):
        raise RefusedError(
            f"{workspace.stack}: its hypervisor does not run (a reboot of this host?); ./halab up starts it again"
        )
    hypervisor.enter()
    return hypervisor
