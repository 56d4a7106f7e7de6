"""Logs of runs and nodes, and all of them as one file without secrets."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from halab import hypervisors, masking
from halab.actions import cloud, ssh
from halab.display import text
from halab.errors import DONE, HalabError, RefusedError
from halab.keys import Keys
from halab.remote import Remote, RemoteError
from halab.workspace import Workspace

#: Seconds for one node's part of a bundle.
LIMIT = 120.0
_NODE = Path(__file__).with_name("logs.sh")


def run(workspace: Workspace, name: str | None, bundle: Path | None, lines: int) -> int:
    console = text.console()
    if bundle is not None:
        if name is not None:
            raise RefusedError("NODE and --bundle: a bundle is of all nodes; leave one of them out")
        return _bundle(workspace, bundle, lines * 20, console)
    if name is not None:
        node = ssh.node(workspace, name)
        hypervisors.reach(workspace)
        print(asyncio.run(_of_node(workspace, node.name, lines)), end="")
        return DONE
    return _runs(workspace, lines)


def _runs(workspace: Workspace, lines: int) -> int:
    found = sorted(workspace.logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RefusedError(f"{workspace.stack}: no run was logged on this host in {workspace.logs}")
    print("\n".join(found[-1].read_text(errors="replace").splitlines()[-lines:]))
    print(f"\n{found[-1]}; {len(found) - 1} earlier in {workspace.logs}")
    return DONE


async def _of_node(workspace: Workspace, name: str, lines: int) -> str:
    async with cloud.remote(workspace) as remote:
        return await remote.run(name, _script(lines))


def _script(lines: int) -> str:
    return f"export LINES_OF_EACH={lines}\n{_NODE.read_text()}"


def _bundle(workspace: Workspace, path: Path, lines: int, console: Console) -> int:
    """Of a stack that is not up: what this host has."""
    keys = Keys.load(workspace.stack, workspace.state)
    mask = masking.Mask.of(keys.secrets if keys else None, workspace.plan)
    reachable = True
    try:
        hypervisors.reach(workspace)
    except (RefusedError, HalabError) as error:
        console.print(f"{error}; the bundle has only what this host knows")
        reachable = False
    top = f"halab-{workspace.stack}-{time.strftime('%Y%m%dT%H%M%S')}"
    size = 0
    with tarfile.open(path, "w:gz") as tar:
        for name, content in _parts(workspace, lines, reachable):
            masked = mask(content)
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size, info.mtime, info.mode = len(masked), int(time.time()), 0o600
            tar.addfile(info, io.BytesIO(masked))
            size += len(masked)
    path.chmod(0o600)
    console.print(f"{path}: {size // 1024} KiB of logs, {mask.hits} secrets masked")
    return DONE


def _parts(workspace: Workspace, lines: int, reachable: bool) -> Iterator[tuple[str, bytes]]:
    yield "stack.yaml", (workspace.project / "stacks" / f"Pulumi.{workspace.stack}.yaml").read_bytes()
    if record := workspace.record():
        yield "record.json", json.dumps({"hypervisor": record.hypervisor, "engine": record.engine}).encode()
    for folder, name in ((workspace.logs, "runs"), (workspace.paths.log, "hypervisor")):
        for path in sorted(folder.rglob("*.log*")):
            if path.is_file() and path.stat().st_size:
                yield f"{name}/{path.relative_to(folder)}", _end(path)
    if workspace.times.exists():
        yield "times.json", workspace.times.read_bytes()
    if reachable and Keys.load(workspace.stack, workspace.state):
        for name, answer in asyncio.run(_every_node(workspace, lines)).items():
            yield f"nodes/{name}.log", answer.encode()


async def _every_node(workspace: Workspace, lines: int) -> dict[str, str]:
    names = [node.name for node in workspace.topology.nodes]
    async with cloud.remote(workspace) as remote:
        answers = await asyncio.gather(*(_try(remote, name, _script(lines)) for name in names))
    return dict(zip(names, answers, strict=True))


async def _try(remote: Remote, name: str, script: str) -> str:
    try:
        return (await remote.execute(name, script, limit=LIMIT)).stdout
    except RemoteError as error:
        return f"{error}\n"


def _end(path: Path, limit: int = 4 << 20) -> bytes:
    """The file, or its last 4 MiB."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - limit))
        return file.read()
