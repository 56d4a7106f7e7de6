"""A node's serial console, live or as its log."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

from components.topology import Node
from halab import hypervisors
from halab.actions import cloud, ssh
from halab.errors import DONE, RefusedError
from halab.workspace import Workspace

#: Where a libvirtd that is not our own has its console logs.
_SYSTEM = Path("/var/log/libvirt")
_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[=>78cDEHM])|[\x00-\x08\x0b-\x1f\x7f]"
)


def run(workspace: Workspace, name: str | None, *, log: bool, lines: int, force: bool) -> int:
    """Becomes virsh, unless `log`."""
    node = ssh.node(workspace, name)
    if log:
        print(plain("\n".join(_read(workspace, node).splitlines()[-lines:])))
        return DONE
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise RefusedError(f"{node.name}: a console needs a terminal; its log is in ./halab console {node.name} --log")
    if shutil.which("virsh") is None:
        raise RefusedError("virsh is not installed; run ./halab doctor")
    uri = _uri(workspace)
    state = cloud.domains(workspace, uri)[node.name]
    if state != "running":
        raise RefusedError(f"{node.name}: its VM is {state}; ./halab up starts it; --log shows its last words")
    print(f"{node.name}: Enter for a root shell; Ctrl-] leaves the console", file=sys.stderr)
    os.execvp("virsh", ["virsh", "--quiet", "-c", uri, "console", node.domain, *(["--force"] if force else [])])


def _uri(workspace: Workspace) -> str:
    """Where the stack's libvirtd answers, from in and outside its namespaces. Raises RefusedError if it is not up."""
    hypervisor = hypervisors.reach(workspace)
    record = workspace.record()
    assert record is not None, "reach() refuses a stack without a record"
    return hypervisor.uri if hypervisor else record.hypervisor


def log_file(workspace: Workspace, node: Node) -> Path | None:
    """What the node's serial console has said since it was made; None where that is on another host."""
    record = workspace.record()
    at = record.hypervisor if record else ""
    if at in ("", hypervisors.EMBEDDED):
        folder = workspace.paths.log
    elif urlsplit(at).hostname:
        return None
    else:
        folder = _SYSTEM
    return folder / "qemu" / f"{node.domain}-console.log"


def _read(workspace: Workspace, node: Node) -> str:
    path = log_file(workspace, node)
    if path is None:
        raise RefusedError(f"{node.name}: its console log is on the hypervisor's host, in {_SYSTEM}/qemu")
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise RefusedError(f"{node.name}: {path}: {error.strerror}; a console log begins with the first up") from None


def plain(text: str) -> str:
    """Without what would move a terminal's cursor or change its colours."""
    return _CONTROL.sub("", text)
