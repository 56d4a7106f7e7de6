"""A shell or a command on a node, by the host's own ssh."""

from __future__ import annotations

import os
import shutil

from components.topology import Node
from components.variant import Role
from components.variant.problems import nearest, shown
from halab import hypervisors
from halab.actions import cloud
from halab.errors import RefusedError
from halab.workspace import Workspace

#: Names that one line of a refusal lists.
_MOST = 24


def node(workspace: Workspace, name: str | None) -> Node:
    """The node of that name, or the first controller. Raises RefusedError."""
    nodes = workspace.topology.nodes
    if name is None:
        return next((one for one in nodes if one.role is Role.CONTROLLER), nodes[0])
    found = next((one for one in nodes if name in (one.name, one.domain, str(one.ip))), None)
    if found is None:
        names = [one.name for one in nodes]
        meant = nearest(name, names)
        hint = f"did you mean {meant}? " if meant else ""
        there = ", ".join(names if len(names) <= _MOST else [*names[:_MOST], f"… ({len(names)} in all)"])
        raise RefusedError(f"NODE: {shown(name)}: {hint}stack {workspace.stack} has {there}")
    return found


def command(workspace: Workspace, target: Node) -> list[str]:
    own = cloud.keys(workspace)
    options = {
        "IdentityFile": str(own.client),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": str(own.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "20",
        "LogLevel": "ERROR",
    }
    flags = [flag for key, value in options.items() for flag in ("-o", f"{key}={value}")]
    return ["ssh", "-F", "/dev/null", *flags, f"root@{target.ip}"]


def run(workspace: Workspace, name: str | None, arguments: tuple[str, ...]) -> int:
    """Becomes ssh, whose exit code is the command's."""
    target = node(workspace, name)
    if shutil.which("ssh") is None:
        raise RefusedError("ssh is not installed; run ./halab doctor")
    hypervisors.reach(workspace)
    line = command(workspace, target)
    os.execvp(line[0], [*line, "--", *arguments] if arguments else line)
