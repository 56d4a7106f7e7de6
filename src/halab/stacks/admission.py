"""Whether a stack may come up on this host beside what is there: names, networks, memory, disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.topology import Topology
from halab.embedded.engine.lock import Lock, held_above
from halab.embedded.hypervisor.paths import INSIDE_POOL
from halab.embedded.provider import ProviderError
from halab.errors import RefusedError
from halab.host.probe import virt_type
from halab.image import cache
from halab.stacks import budget, claims, host, objects
from halab.stacks.budget import Use
from halab.stacks.claims import EMBEDDED, Claim, Taken
from halab.stacks.known import Known, known, occupied
from halab.stacks.machines import Running, running
from halab.workspace import Workspace, now, write_text

#: Bytes that an image is taken to have before it is built, once in the cache and once in the stack's pool.
_UNBUILT = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Obstacles:
    """A line each. `clashes` with names and networks in use; `shortages` of memory and disk."""

    clashes: tuple[str, ...] = ()
    shortages: tuple[str, ...] = ()


def look(workspace: Workspace, at: str, emulated: bool) -> Obstacles:
    """What stands against the stack's coming up at `at` ("embedded" or a libvirt URI), from this host's own network.

    Nothing is changed. Raises ProviderError where the libvirt at the URI does not answer.
    """
    processes = running()
    stacks = known(workspace.project, processes, workspace.state)
    others = [one for one in stacks if (one.state, one.name) != (workspace.state, workspace.stack)]
    mine = next((one for one in stacks if one not in others), None)
    shortages: list[str] = []
    if (at == EMBEDDED or claims.on_this_host(at)) and not (mine and _was_let_in(workspace.topology, mine)):
        elsewhere = [one for one in processes if mine is None or one not in mine.machines]
        shortages = [*_memory(workspace, others, elsewhere, emulated), *_disk(workspace, at, others)]
    return Obstacles(tuple(_clashes(workspace, at, others)), tuple(shortages))


def emulates(workspace: Workspace) -> bool:
    """Whether its VMs will be emulated, as far as is known: no probe guest is booted for it."""
    asked = workspace.topology.stack.hypervisor.domain_type
    if asked != "auto" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return asked != "kvm"
    return (workspace.state / "probe.json").exists() and not virt_type(workspace.state).kvm


def refuse(workspace: Workspace, at: str, emulated: bool, *, overcommit: bool) -> list[str]:
    """Raises RefusedError for what stands against it; what is let pass is returned, a line each.

    Let pass are shortages with `overcommit`, and clashes of a stack whose networks are there already.
    """
    try:
        found = look(workspace, at, emulated)
    except ProviderError as error:
        raise RefusedError(f"{workspace.stack}: {error}; nothing was created") from error
    exists = workspace.checkpoint.exists()
    fatal = [] if exists else [f"{line}; nothing was created{_instead(workspace, at, line)}" for line in found.clashes]
    if not overcommit:
        room = "make room (./halab list, ./halab prune) or add --overcommit"
        fatal += [f"{line}; nothing was created; {room}" for line in found.shortages]
    if fatal:
        raise RefusedError("\n".join(f"{workspace.stack}: {line}" for line in fatal))
    return [*found.clashes, *found.shortages]


@contextmanager
def admitted(workspace: Workspace, at: str, engine: str, emulated: bool, *, overcommit: bool) -> Iterator[None]:
    """Within it the stack counts as one that comes up: its record says so, and no other up of it starts.

    Two stacks that come up at once look one after the other, the second with what the first will take in view.
    Raises RefusedError as `refuse` does, LockedError when another up of the stack runs.
    """
    with ExitStack() as until_the_end:
        with _one_at_a_time(workspace.up_lock.parent):
            refuse(workspace, at, emulated, overcommit=overcommit)
            until_the_end.enter_context(alone(workspace))
            _note(workspace, at, engine)
        yield


@contextmanager
def alone(workspace: Workspace) -> Iterator[None]:
    """No other command changes the stack. Raises LockedError while one does, or a fault that this one is no part of."""
    with _locked(workspace.up_lock):
        if not held_above(workspace.fault_lock):
            with _locked(workspace.fault_lock):
                pass
        yield


@contextmanager
def under_fault(workspace: Workspace) -> Iterator[None]:
    """Nothing changes the stack but what this process begins. Raises LockedError while anything does."""
    with _locked(workspace.fault_lock):
        with _locked(workspace.up_lock):
            pass
        yield


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    lock = Lock(file, lambda _line: None)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _note(workspace: Workspace, at: str, engine: str) -> None:
    record = workspace.record()
    first = record is None or not record.since
    begun = {"owner": host.user(), "since": now()} if first else {}
    workspace.note(hypervisor=at, engine=engine, **begun)
    if workspace.file != workspace.description:
        write_text(workspace.description, workspace.file.read_text())


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _clashes(workspace: Workspace, at: str, others: Sequence[Known]) -> Iterator[str]:
    mine = Claim.of(workspace.topology, at)
    theirs = [claim for one in others if (claim := one.claim)]
    if at == EMBEDDED:
        return
    bearing = objects.named(workspace.topology, at)
    for one in bearing:
        if one.stranger:
            yield f"{one.kind} {one.name}: exists on {at} and is not this stack's ({one.stranger}): rename or remove it"
    own_ones = [one for one in bearing if not one.stranger]
    if own_ones and not workspace.checkpoint.exists():
        more = f" and {len(own_ones) - 1} more" if own_ones[1:] else ""
        yield f"{own_ones[0]}{more}: exists on {at} as this stack's, {_of_whom(workspace, at)}"
    there = {one.name for one in own_ones if one.kind == "network"}
    own = {network.bridge for network in workspace.topology.networks if network.name in there}
    stacks = {taken.bridge for claim in theirs for taken in claims.taken_by(claim)}
    yield from claims.clashes(mine, theirs, _not(own | stacks, in_use(at)))
    for network in workspace.topology.networks if claims.on_this_host(at) else ():
        if network.bridge not in own | stacks and Path("/sys/class/net", network.bridge).exists():
            yield f"networks.{network.key}: this host has a bridge {network.bridge}, which is of no network of libvirt"


def _of_whom(workspace: Workspace, at: str) -> str:
    record = workspace.record()
    if record is not None and record.hypervisor == at:
        return f"whose state is lost: ./halab down --stack {workspace.stack} removes it"
    return f"of which {workspace.state} knows nothing: another user's, most likely: take another name (./halab new)"


def in_use(at: str) -> list[Taken]:
    """What libvirt's networks at a URI and, if it is on this host, the host's routes occupy."""
    networks = objects.networks(at)
    here = _not({one.bridge for one in networks}, host.routes()) if claims.on_this_host(at) else []
    return [*networks, *here]


def _not(bridges: set[str], taken: Iterable[Taken]) -> list[Taken]:
    return [one for one in taken if not one.bridge or one.bridge not in bridges]


def _instead(workspace: Workspace, at: str, clash: str) -> str:
    """Where networks would not clash, for the stack file."""
    if not clash.startswith("networks."):
        return ""
    networks = workspace.topology.networks
    taken = _not({network.bridge for network in networks}, in_use(at))
    free = ", ".join(f"{key}: {network}" for key, network in claims.moved(networks, taken).items())
    return f"; free is, for {workspace.file.name}: networks: {{{free}}}" if free else ""


def _was_let_in(wanted: Topology, mine: Known) -> bool:
    """Whether it runs and was let in with as much: what is there may be mended whatever has become of the host."""
    if mine.topology is None or not any(one.domain for one in mine.machines):
        return False
    return all(
        sum(map(size, wanted.nodes)) <= sum(map(size, mine.topology.nodes))
        for size in (lambda node: budget.memory_of(node, emulated=True), budget.allowance)
    )


def _memory(
    workspace: Workspace, others: Sequence[Known], processes: Sequence[Running], emulated: bool
) -> Iterator[str]:
    uses = [Use(_called(one, workspace), _takes(one, emulated)) for one in others]
    of_stacks = {machine.pid for one in others for machine in one.machines}
    foreign = [one for one in processes if one.domain and one.pid not in of_stacks]
    uses.append(Use("other VMs", sum(map(_machine, foreign))))
    need = budget.memory(workspace.topology, emulated)
    if (line := budget.short_of_memory(need, uses, host.memory())) is not None:
        yield line


def _called(one: Known, workspace: Workspace) -> str:
    return f"stack {one.name}" + ("" if one.state == workspace.state else f" of {one.state}")


def _takes(stack: Known, emulated: bool) -> int:
    """MiB: of the VMs that run; of all that it is to have while it is being built."""
    now = sum(_machine(one) for one in stack.machines if one.domain)
    return max(now, budget.memory(stack.topology, emulated) if stack.busy and stack.is_up and stack.topology else 0)


def _machine(one: Running) -> int:
    return one.memory + one.translations + budget.QEMU_OVERHEAD


def _disk(workspace: Workspace, at: str, others: Sequence[Known]) -> Iterator[str]:
    where = host.existing(pool_folder(workspace.topology, at, workspace.paths.pool))
    device = where.stat().st_dev
    uses = []
    for one in others:
        if one.topology and one.record and one.is_up:
            pool = pool_folder(one.topology, one.record.hypervisor, one.root / "pool")
            if host.existing(pool).stat().st_dev == device:
                uses.append(Use(_called(one, workspace), _to_write(one.topology, pool)))
    need = _to_write(workspace.topology, pool_folder(workspace.topology, at, workspace.paths.pool))
    need += sum(_UNBUILT for name in _images(workspace.topology) if cache.Image.cached(name) is None)
    if (line := budget.short_of_disk(need, uses, host.free(where), str(where))) is not None:
        yield line


def pool_folder(topology: Topology, at: str, embedded: Path) -> Path:
    """Where the stack's volumes are, as seen from this host; `embedded`: its own hypervisor's pool."""
    return (embedded if at == EMBEDDED else INSIDE_POOL) / topology.prefix


def _images(topology: Topology) -> list[str]:
    return sorted({node.image for node in topology.nodes})


def _to_write(topology: Topology, pool: Path) -> int:
    """Bytes that the stack will still write there: its images and every node's allowance, less what is there."""
    images = sum(_image(name) for name in _images(topology))
    return max(0, images + sum(map(budget.allowance, topology.nodes)) - occupied(pool))


def _image(name: str) -> int:
    folder = cache.image_directory(name)
    return occupied(folder) or _UNBUILT
