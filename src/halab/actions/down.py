"""Take a stack down, then look for anything of it that is still there."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from halab import engines, hypervisors
from halab.actions import snapshot
from halab.actions.interrupt import interruptible
from halab.display import text
from halab.display.progress import Progress
from halab.display.run import RunDisplay
from halab.embedded.engine.errors import EngineError, LockedError
from halab.embedded.hypervisor import Fence, Hypervisor
from halab.embedded.hypervisor.paths import HypervisorError
from halab.errors import DONE, FAILED, HalabError
from halab.keys import Keys, KeysError
from halab.labels import is_work, label
from halab.stacks import admission, objects
from halab.workspace import DESCRIPTION, Workspace

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


class InterruptedDownError(HalabError):
    """The user wants no more to be deleted now."""


@dataclass(frozen=True, slots=True)
class Gone:
    """What a down found at its end, a line each: `left` of the stack, and `strangers` that only bear its names."""

    left: tuple[str, ...]
    strangers: tuple[str, ...]
    seconds: float


def run(workspace: Workspace, *, verbose: bool, as_json: bool) -> int:
    console = text.console(error=as_json)
    gone = take_down(workspace, console, verbose=verbose)
    if as_json:
        kept = [place.name for place in snapshot.kept(workspace)]
        document = {"stack": workspace.stack, "left": gone.left, "not_ours": gone.strangers, "kept": kept}
        print(json.dumps({**document, "seconds": round(gone.seconds, 1)}, indent=1))
    else:
        show(workspace, gone, console)
        snapshot.tell_kept(workspace, console)
    return FAILED if gone.left else DONE


def take_down(workspace: Workspace, console: Console, *, verbose: bool = False) -> Gone:
    """Raises LockedError while another command changes the stack, ProviderError where its libvirt does not answer."""
    began = time.monotonic()
    uri = _where(workspace)
    with admission.alone(workspace):
        problems = _take_down(workspace, uri, console, verbose)
    bearing = _bearing_its_names(workspace, uri)
    left = sorted({*problems, *leftovers(workspace, bearing)})
    strangers = sorted(str(one) for one in bearing if one.stranger)
    return Gone(tuple(left), tuple(strangers), time.monotonic() - began)


def _where(workspace: Workspace) -> str:
    """The URI of the libvirt that the stack is on: its own when nothing else is recorded."""
    record = workspace.record()
    at = record.hypervisor if record else ""
    return workspace.paths.uri if at in ("", hypervisors.EMBEDDED) else at


def _take_down(workspace: Workspace, uri: str, console: Console, verbose: bool) -> list[str]:
    """Everything goes, in order; what cannot is a line of the answer, and the rest goes nevertheless."""
    record = workspace.record()
    embedded = Hypervisor(workspace.stack, workspace.state)
    snapshot.let_go(workspace, hypervisors.EMBEDDED if uri == embedded.uri else uri, console)
    if workspace.checkpoint.exists():
        try:
            if uri == embedded.uri:
                embedded.start()
            _destroy(workspace, record.engine if record else "", uri, console, verbose)
        except (LockedError, InterruptedDownError):
            raise
        except (HalabError, EngineError, HypervisorError, OSError) as error:
            console.print(Text(f"{error}; going on without the state", style="yellow"))
    problems: list[str] = []
    if uri != embedded.uri:
        # What the engine left on a libvirt that is not our own, because the state was missing or it failed.
        problems += objects.remove(uri, objects.named(workspace.topology, uri))
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
        with interruptible(runner, console) as interrupted:
            summary = runner.destroy(progress.feed)
    else:
        log = workspace.new_log("down")
        display = RunDisplay(f"down {workspace.stack}", progress, console, log, verbose=verbose)
        with display, interruptible(runner, console) as interrupted:
            summary = runner.destroy(display.feed)
    if interrupted:
        raise InterruptedDownError(f"{workspace.stack}: interrupted: ./halab down --stack {workspace.stack} goes on")
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
    for name in ("halab.json", DESCRIPTION, f"Pulumi.{workspace.stack}.yaml", "pulumi.events", "snapshot.json"):
        _unlink(workspace.paths.root, name)
    # A stack that comes up has a record before it has a state.
    if not any(pulumi.glob("stacks/*/*.json")) and not any(workspace.state.glob("stacks/*/halab.json")):
        _unlink(workspace.state, "passphrase")


def _unlink(folder: Path, name: str) -> None:
    """Delete a file, and what a killed command had begun to write in its place."""
    for path in (folder / name, *folder.glob(f".{name}.*")):
        path.unlink(missing_ok=True)


def leftovers(workspace: Workspace, bearing: Iterable[objects.Object]) -> Iterator[str]:
    """What of the stack is still on this host, a line each; `bearing`: objects that have its names."""
    yield from Hypervisor(workspace.stack, workspace.state).leftovers()
    yield from (str(one) for one in bearing if not one.stranger)
    if not _is_fork(workspace):
        for network in workspace.topology.networks:
            if Path("/sys/class/net", network.bridge).exists():
                yield f"bridge {network.bridge}"
            for lease in Path("/var/lib/libvirt/dnsmasq").glob(f"{network.name}.*"):
                yield f"lease {lease}"
    if workspace.checkpoint.exists():
        yield f"state {workspace.checkpoint}"
    if workspace.paths.root.exists():
        yield f"folder {workspace.paths.root}"


def _is_fork(workspace: Workspace) -> bool:
    """What bears its names outside of its own hypervisor is the original's."""
    return workspace.topology.stack.cloud != workspace.stack


def _bearing_its_names(workspace: Workspace, uri: str) -> list[objects.Object]:
    """At the libvirt that the stack was on, and at the system's, whichever was recorded."""
    if _is_fork(workspace):
        return []
    there = {uri} - {workspace.paths.uri}
    if any(Path(path).exists() for path in hypervisors.SOCKETS) and hypervisors.answers(hypervisors.SYSTEM):
        there.add(hypervisors.SYSTEM)
    return [one for at in sorted(there) for one in objects.named(workspace.topology, at)]


def show(workspace: Workspace, gone: Gone, console: Console) -> None:
    for line in gone.strangers:
        console.print(f"left alone, since it is not this stack's: {line}")
    for line in gone.left:
        console.print(Text(f"left: {line}", style="bold red"))
    clean = [kind for kind, words in KINDS.items() if not any(line.startswith(words) for line in gone.left)]
    if clean:
        console.print(f"none left: {', '.join(clean)}")
    console.print(
        Text.assemble(
            (f"{workspace.stack} is down", "bold green")
            if not gone.left
            else (f"{workspace.stack} is not gone", "bold red"),
            f" after {text.duration(gone.seconds)}",
            "" if not gone.left else "; run ./halab down again, or remove what is listed by hand",
        )
    )
