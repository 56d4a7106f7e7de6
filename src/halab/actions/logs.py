"""Logs of runs and nodes, and all of them as one file without secrets."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console

from halab import hypervisors, masking
from halab.actions import cloud, ssh
from halab.actions.console import log_file
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
    """Of a stack that is not up: what this host has. Of a node that does not answer: its console's log."""
    keys = Keys.load(workspace.stack, workspace.state)
    mask = masking.Mask.of(keys.secrets if keys else None, workspace.plan)
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
    except OSError as error:
        raise RefusedError(f"--bundle {path}: {error.strerror}") from None
    answers: dict[str, str | RemoteError] = {}
    try:
        hypervisors.reach(workspace)
        answers = asyncio.run(_every_node(workspace, lines)) if keys else {}
    except HalabError as error:
        console.print(f"{error}; the bundle has only what this host knows")
    top = f"halab-{workspace.stack}-{time.strftime('%Y%m%dT%H%M%S')}"
    size = 0
    try:
        with tarfile.open(part, "w:gz") as tar:
            for name, content in _parts(workspace, answers):
                masked = mask(content)
                info = tarfile.TarInfo(f"{top}/{name}")
                info.size, info.mtime, info.mode = len(masked), int(time.time()), 0o600
                tar.addfile(info, io.BytesIO(masked))
                size += len(masked)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    silent = [answer for answer in answers.values() if isinstance(answer, RemoteError)]
    for answer in silent:
        console.print(f"{answer}; the bundle has its console log instead")
    nodes = f"{len(answers) - len(silent)} of {text.counted(len(workspace.topology.nodes), 'node')} answered"
    console.print(f"{path}: {size // 1024} KiB of logs, {nodes}, {text.counted(mask.hits, 'secret')} masked")
    return DONE


def _parts(workspace: Workspace, answers: Mapping[str, str | RemoteError]) -> Iterator[tuple[str, bytes]]:
    yield "stack.yaml", (workspace.project / "stacks" / f"Pulumi.{workspace.stack}.yaml").read_bytes()
    if record := workspace.record():
        yield "record.json", json.dumps({"hypervisor": record.hypervisor, "engine": record.engine}).encode()
    consoles = {node.name: log_file(workspace, node) for node in workspace.topology.nodes}
    for folder, name in ((workspace.logs, "runs"), (workspace.paths.log, "hypervisor")):
        for path in sorted(folder.rglob("*.log*")):
            if path.is_file() and path.stat().st_size and path not in consoles.values():
                yield f"{name}/{path.relative_to(folder)}", _end(path)
    for path in sorted((workspace.state / "log").glob("*.log")):
        yield f"host/{path.name}", _end(path)
    if workspace.times.exists():
        yield "times.json", workspace.times.read_bytes()
    for name, console in consoles.items():
        if name in answers:
            yield f"nodes/{name}.log", f"{answers[name]}\n".encode()
        if console is not None and os.access(console, os.R_OK):
            yield f"nodes/{name}.console.log", _end(console)


async def _every_node(workspace: Workspace, lines: int) -> dict[str, str | RemoteError]:
    """What each node says, or why it says nothing."""
    names = [node.name for node in workspace.topology.nodes]
    async with cloud.remote(workspace) as remote:
        answers = await asyncio.gather(*(_try(remote, name, _script(lines)) for name in names))
    return dict(zip(names, answers, strict=True))


async def _try(remote: Remote, name: str, script: str) -> str | RemoteError:
    try:
        return (await remote.execute(name, script, limit=LIMIT)).stdout
    except RemoteError as error:
        return error


def _end(path: Path, limit: int = 4 << 20) -> bytes:
    """The file, or its last 4 MiB."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - limit))
        return file.read()
