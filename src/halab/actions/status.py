"""Look at the cloud: libvirt's word for each VM, and each node's own, all at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict

from halab import hypervisors, status
from halab.actions import cloud
from halab.display import text
from halab.display.status import screen
from halab.errors import DONE, FAILED
from halab.remote import Remote, RemoteError
from halab.status import NodeAnswer
from halab.workspace import Workspace

#: Seconds within which a node that runs answers, also under emulation on a busy host.
LIMIT = 45.0


def run(workspace: Workspace, *, as_json: bool) -> int:
    report = look(workspace)
    if as_json:
        print(json.dumps({**asdict(report), "well": report.well}, indent=1))
    else:
        text.console().print(screen(report))
    return DONE if report.well else FAILED


def look(workspace: Workspace) -> status.Report:
    """Enters the stack's network. Raises RefusedError for a stack that is not up."""
    hypervisor = hypervisors.reach(workspace)
    record = workspace.record()
    assert record is not None, "reach() refuses a stack without a record"
    vms = cloud.domains(workspace, hypervisor.uri if hypervisor else record.hypervisor)
    answers = asyncio.run(_ask(workspace, vms))
    return status.report(workspace.topology, answers, record.fenced)


async def _ask(workspace: Workspace, vms: Mapping[str, str]) -> dict[str, NodeAnswer]:
    async with cloud.remote(workspace) as remote:
        return await ask(workspace, remote, vms)


async def ask(workspace: Workspace, remote: Remote, vms: Mapping[str, str]) -> dict[str, NodeAnswer]:
    """Every node at once. `vms`: node to libvirt's word for its VM."""
    asked = [_one(workspace, remote, name, vm) for name, vm in vms.items()]
    return dict(zip(vms, await asyncio.gather(*asked), strict=True))


async def _one(workspace: Workspace, remote: Remote, name: str, vm: str) -> NodeAnswer:
    if vm != "running":
        return NodeAnswer(vm, problem=f"VM is {vm}")
    try:
        script = status.script(workspace.topology, workspace.topology.node(name))
        done = await remote.execute(name, script, limit=LIMIT)
    except RemoteError as error:
        return NodeAnswer(vm, problem=str(error).partition(": ")[2])
    return NodeAnswer(vm, status.sections(done.stdout))
