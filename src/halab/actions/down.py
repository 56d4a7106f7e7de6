"""Take a stack down, then look for anything of it that is still there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from components.variant import Role
from halab import engines, hypervisors
from halab.display import text
from halab.display.progress import Progress
from halab.display.run import RunDisplay
from halab.embedded.engine.errors import EngineError, LockedError
from halab.embedded.hypervisor import Fence, Hypervisor
from halab.embedded.hypervisor.paths import HypervisorError
from halab.errors import DONE, FAILED, HalabError
from halab.keys import Keys, KeysError
from halab.labels import is_work, label
from halab.workspace import Workspace

#: What `down` proves to be gone, in the order in which it says so, and the word a leftover's line begins with.
KINDS: Mapping[str, tuple[str, ...]] = {
    "domains": ("domain", "saved domain", "nvram"),
    "volumes": ("volume",),
    "pools": ("pool",),
    "networks": ("network ",),
    "bridges": ("link", "bridge"),
    "namespaces": ("network namespace",),
    "mounts": ("mount",),
    "leases": ("lease",),
    "processes": ("process", "pid file", "socket"),
    "keys": ("key", "fencing"),
    "state": ("state", "folder"),
}


def run(workspace: Workspace, *, verbose: bool, as_json: bool) -> int:
    began = time.monotonic()
    console = text.console(error=as_json)
    problems = _take_down(workspace, console, verbose)
    left = sorted({*problems, *leftovers(workspace)})
    seconds = time.monotonic() - began
    if as_json:
        print(json.dumps({"stack": workspace.stack, "left": left, "seconds": round(seconds, 1)}, indent=1))
    else:
        _show(workspace, left, seconds, console)
    return FAILED if left else DONE


def _take_down(workspace: Workspace, console: Console, verbose: bool) -> list[str]:
    """Everything goes, in order; what cannot is a line of the answer, and the rest goes nevertheless."""
    record = workspace.record()
    at = record.hypervisor if record and record.hypervisor else ""
    embedded = Hypervisor(workspace.stack, workspace.state)
    uri = embedded.uri if at in ("", hypervisors.EMBEDDED) else at
    if workspace.checkpoint.exists():
        try:
            if uri == embedded.uri:
                embedded.start()
            _destroy(workspace, record.engine if record else "", uri, console, verbose)
        except LockedError:
            raise
        except (HalabError, EngineError, HypervisorError) as error:
            console.print(Text(f"{error}; going on without the state", style="yellow"))
    problems: list[str] = []
    if uri != embedded.uri:
        problems += _remove_by_name(workspace, uri)
        Fence(embedded.paths, uri).remove()
    _forget(workspace)
    problems += embedded.remove()
    return problems


def _destroy(workspace: Workspace, engine: str, uri: str, console: Console, verbose: bool) -> None:
    chosen = engines.choose("auto" if engine == "cli" else "embedded")
    choice = hypervisors.Choice(uri == Hypervisor(workspace.stack, workspace.state).uri, uri, "")
    runner = engines.runner(workspace, chosen, choice)
    progress = Progress(time.time(), _urns(workspace))
    if runner.name == "cli":
        summary = runner.destroy(progress.feed)
    else:
        log = workspace.new_log("down")
        with RunDisplay(f"down {workspace.stack}", progress, console, log, verbose=verbose) as shown:
            summary = runner.destroy(shown.feed)
    for failure in summary.failures:
        console.print(Text(f"not deleted by the engine: {label(failure.urn)}: {failure.error.strip()}", style="yellow"))


def _urns(workspace: Workspace) -> frozenset[str]:
    """What the state has of what takes time to delete."""
    try:
        resources = json.loads(workspace.checkpoint.read_text())["checkpoint"]["latest"]["resources"]
        return frozenset(one["urn"] for one in resources if is_work(one["urn"]))
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def _forget(workspace: Workspace) -> None:
    """Keys, state, and what halab noted; the passphrase too when no stack has a state any more."""
    try:
        if keys := Keys.load(workspace.stack, workspace.state):
            keys.remove()
    except KeysError:
        shutil.rmtree(workspace.paths.keys, ignore_errors=True)
    pulumi = workspace.engine_state / ".pulumi"
    for path in pulumi.glob(f"*/halab/{workspace.stack}.*"):
        path.unlink()
    for folder in (
        pulumi / "backups" / "halab",
        pulumi / "history" / "halab",
        pulumi / "locks" / "organization" / "halab",
    ):
        shutil.rmtree(folder / workspace.stack, ignore_errors=True)
    for name in ("halab.json", f"Pulumi.{workspace.stack}.yaml"):
        (workspace.paths.root / name).unlink(missing_ok=True)
    if not any(pulumi.glob("stacks/*/*.json")):
        (workspace.state / "passphrase").unlink(missing_ok=True)


def leftovers(workspace: Workspace) -> Iterator[str]:
    """What of the stack is still on this host, a line each, whichever hypervisor it was on."""
    yield from Hypervisor(workspace.stack, workspace.state).leftovers()
    for network in workspace.topology.networks:
        if Path("/sys/class/net", network.bridge).exists():
            yield f"bridge {network.bridge}"
        for lease in Path("/var/lib/libvirt/dnsmasq").glob(f"{network.name}.*"):
            yield f"lease {lease}"
    if any(Path(path).exists() for path in hypervisors.SOCKETS) and hypervisors.answers(hypervisors.SYSTEM):
        yield from _named(workspace, hypervisors.SYSTEM)
    if workspace.checkpoint.exists():
        yield f"state {workspace.checkpoint}"
    if workspace.paths.root.exists():
        yield f"folder {workspace.paths.root}"


def _named(workspace: Workspace, uri: str) -> Iterator[str]:
    """Objects of that libvirt with the names that only this stack's objects have."""
    roles = "|".join(Role)
    domain = re.compile(rf"{re.escape(workspace.topology.prefix)}-({roles})-[0-9]+")
    networks = {network.name for network in workspace.topology.networks}
    for name in _list(uri, "list", "--all", "--name"):
        if domain.fullmatch(name):
            yield f"domain {name}"
    for name in _list(uri, "net-list", "--all", "--name"):
        if name in networks:
            yield f"network {name}"
    if workspace.topology.prefix in _list(uri, "pool-list", "--all", "--name"):
        yield f"pool {workspace.topology.prefix}"
        yield from (f"volume {name}" for name in _list(uri, "vol-list", workspace.topology.prefix, first=True))


def _remove_by_name(workspace: Workspace, uri: str) -> list[str]:
    """What the engine left on a libvirt that is not our own, because the state was missing or it failed."""
    problems: list[str] = []
    pool = workspace.topology.prefix
    commands = {
        "domain": (("destroy",), ("undefine", "--nvram")),
        "network": (("net-destroy",), ("net-undefine",)),
        "pool": (("pool-destroy",), ("pool-undefine",)),
    }
    found = list(_named(workspace, uri))
    for line in sorted(found, key=lambda one: one.startswith("pool")):
        kind, name = line.split(" ", 1)
        if kind == "volume":
            problems += _virsh(uri, "vol-delete", name, "--pool", pool)
            continue
        stop, undefine = commands[kind]
        _virsh(uri, *stop, name)
        problems += _virsh(uri, undefine[0], name, *undefine[1:])
    return problems


def _virsh(uri: str, *arguments: str) -> list[str]:
    done = subprocess.run(["virsh", "--quiet", "-c", uri, *arguments], capture_output=True, text=True, check=False)
    return [f"{arguments[0]} {arguments[1]}: {done.stderr.strip()}"] if done.returncode else []


def _list(uri: str, *arguments: str, first: bool = False) -> list[str]:
    done = subprocess.run(["virsh", "--quiet", "-c", uri, *arguments], capture_output=True, text=True, check=False)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return [line.split()[0] for line in lines] if first else lines


def _show(workspace: Workspace, left: Iterable[str], seconds: float, console: Console) -> None:
    lines = list(left)
    for line in lines:
        console.print(Text(f"left: {line}", style="bold red"))
    clean = [kind for kind, words in KINDS.items() if not any(line.startswith(words) for line in lines)]
    if clean:
        console.print(f"none left: {', '.join(clean)}")
    console.print(
        Text.assemble(
            (f"{workspace.stack} is down", "bold green")
            if not lines
            else (f"{workspace.stack} is not gone", "bold red"),
            f" after {text.duration(seconds)}",
            "" if not lines else "; run ./halab down again, or remove what is listed by hand",
        )
    )
