"""What several commands need of a stack that is up: its keys, SSH to its nodes, and its libvirt domains."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING

from halab.errors import HalabError, RefusedError
from halab.keys import Keys
from halab.workspace import Workspace

if TYPE_CHECKING:
    from halab.remote import Remote


def keys(workspace: Workspace) -> Keys:
    """The keys of a stack that is up, their files written. Raises RefusedError where there are none."""
    found = Keys.load(workspace.stack, workspace.state)
    if found is None:
        raise RefusedError(f"{workspace.stack}: no keys, so it is not up; run ./halab up --stack {workspace.stack}")
    found.write_files(workspace.topology)
    return found


def remote(workspace: Workspace) -> Remote:
    """SSH to the stack's nodes, from the network where they are (see hypervisors.reach)."""
    from halab.remote import Remote

    own = keys(workspace)
    return Remote({node.name: str(node.ip) for node in workspace.topology.nodes}, own.client, own.known_hosts)


def domains(workspace: Workspace, uri: str, limit: float = 10.0) -> Mapping[str, str]:
    """Node to the state of its VM: libvirt's word, or "absent". Raises HalabError where libvirt does not answer."""
    command = ["virsh", "--quiet", "-c", uri, "list", "--all"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit)
    except FileNotFoundError:
        raise RefusedError("virsh is not installed; run ./halab doctor") from None
    except subprocess.TimeoutExpired:
        raise HalabError(f"libvirt on {uri}: no answer within {limit:.0f} s") from None
    if done.returncode:
        raise HalabError(f"libvirt on {uri}: {(done.stderr.strip() or 'no answer').splitlines()[-1]}")
    states = {}
    for line in done.stdout.splitlines():
        fields = line.split(None, 2)
        if len(fields) == 3:
            states[fields[1]] = fields[2]
    return {node.name: states.get(node.domain, "absent") for node in workspace.topology.nodes}
