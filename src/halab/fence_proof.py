"""Proof that fencing works: every VM that a cluster can fence is fenced once, by the cluster, and comes back.

A node counts as fenced when the cluster says that it turned it off and on, and as back when another boot of it answers
and everything that ran on it before runs again. Whoever holds no quorum is fenced with the others in the first round;
members follow one by one, so that a proof never costs the cloud more than one of them.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from components.cluster import fencing
from components.topology import Cluster, Node, Topology
from halab import crm
from halab.errors import HalabError

#: run(node, bash script) -> stdout; raises OSError or HalabError where the node cannot be reached or the script fails.
Run = Callable[[str, str], Awaitable[str]]
#: The boot's id; how many units are still to start; how many of these systemd does not start by itself at boot, but
#: Pacemaker does.
_BOOT = """cat /proc/sys/kernel/random/boot_id
units=$(systemctl list-jobs --no-legend | awk '$3 == "start" {print $2}')
echo "$units" | grep -c .
for unit in $units; do systemctl is-enabled "$unit" 2>/dev/null; done | grep -c disabled
exit 0
"""
#: Between two looks at a cluster that recovers: a look costs an emulated guest half a second.
_PAUSE = 3.0
#: Seconds that the cluster has for turning one node off and on.
_FENCE_LIMIT = 300
#: Seconds that a node has for answering before anything is done to it.
_PATIENCE = 180.0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Proof:
    """`device`: the fence devices used; seconds from the request until the VM was off and on, and until all was back.

    `problem` is "" for a device that works, else what was awaited and seen.
    """

    node: str
    device: str
    fenced: float | None
    back: float | None
    problem: str = ""


class ProofError(HalabError):
    """A fencing that was not what it should be."""


@dataclass(frozen=True)
class _Marks:
    """`fired`: off and on again; `whole`: all it had in the cluster is back, if not yet what systemd starts."""

    fired: asyncio.Event = field(default_factory=asyncio.Event)
    whole: asyncio.Event = field(default_factory=asyncio.Event)


def _ended(tasks: Iterable[Iterable[asyncio.Task[Proof]]]) -> list[Proof]:
    return [task.result() for one in tasks for task in one if task.done()]


Progress = Callable[[Proof], None]
_DEVICE = "+".join(fencing.DEVICES)
_ERRORS = (HalabError, OSError, TimeoutError, ValueError)


def targets(topology: Topology) -> tuple[str, ...]:
    """The names of all VMs that some cluster of the stack can fence."""
    return tuple(node.name for cluster in topology.clusters for node in fencing.targets(topology, cluster))


def rounds(topology: Topology, cluster: Cluster, dc: str, only: Iterable[str]) -> tuple[tuple[Node, ...], ...]:
    """Who of `only` is fenced together: the nodes without a vote and one member first, the DC last."""
    chosen = [node for node in fencing.targets(topology, cluster) if node.name in set(only)]
    members = sorted((node for node in chosen if node in cluster.members), key=lambda node: node.name == dc)
    others = [node for node in chosen if node not in cluster.members]
    first = (*others, *members[:1])
    return ((first,) if first else ()) + tuple((node,) for node in members[1:])


async def prove(
    topology: Topology,
    run: Run,
    nodes: Iterable[str] | None = None,
    *,
    limit: float = 900.0,
    abreast: int | None = None,
    done: Progress | None = None,
) -> list[Proof]:
    """Fence `nodes` (default: all that can be) and wait, at most `limit` seconds for each, until they are back.

    Clusters work side by side, each by its own members, and never is more than one member of each away: what one does
    costs no other its quorum. `abreast`: how many VMs of all of them may be on their way back at once, all if None.
    Where more boot than the host can, members that are well miss their token and are fenced in earnest.

    After a node that does not come back, no further member of its cluster is fenced: the others are told as not proven.
    """
    chosen = frozenset(targets(topology) if nodes is None else nodes)
    slots = asyncio.Semaphore(abreast or len(topology.nodes))
    proofs = await asyncio.gather(
        *(
            _Prover(topology, cluster, run, limit, slots, done or (lambda _: None)).prove(chosen)
            for cluster in topology.clusters
        )
    )
    return [proof for found in proofs for proof in found]


class _Prover:
    """The proof of one cluster."""

    def __init__(
        self, topology: Topology, cluster: Cluster, run: Run, limit: float, slots: asyncio.Semaphore, done: Progress
    ) -> None:
        self._topology, self._cluster, self._run, self._limit = topology, cluster, run, limit
        self._slots, self._done = slots, done

    async def prove(self, chosen: frozenset[str]) -> list[Proof]:
        """A round begins when the one before has all it had in the cluster, and those before that are wholly back."""
        members = self._cluster.members
        before = await self._patiently(self._state, members[0].name)
        order = rounds(self._topology, self._cluster, before.dc, chosen)
        tasks: list[list[asyncio.Task[Proof]]] = []
        failed: list[str] = []
        for together in order:
            for task in (task for earlier in tasks[:-1] for task in earlier):
                await task
            failed = [proof.node for proof in _ended(tasks) if proof.problem]
            if failed:
                break
            witness = next(member.name for member in reversed(members) if member not in together)
            marks = {node.name: _Marks() for node in together}
            # A member's end holds up the cluster's messages until its new membership: the others' come before it.
            first = [marks[node.name].fired for node in together if node not in members]
            tasks.append(
                [
                    asyncio.create_task(
                        self._fence(node, witness, before, marks[node.name], first if node in members else [])
                    )
                    for node in together
                ]
            )
            for mark in marks.values():
                await mark.whole.wait()
        proofs = [await task for one in tasks for task in one]
        reason = f"not tried: {', '.join(failed)} did not come back"
        return proofs + [Proof(node.name, _DEVICE, None, None, reason) for one in order[len(tasks) :] for node in one]

    async def _fence(
        self, node: Node, witness: str, before: crm.ClusterState, marks: _Marks, after: Iterable[asyncio.Event]
    ) -> Proof:
        for event in after:
            await event.wait()
        async with self._slots:
            proof = await self._one(node, witness, before, marks)
        self._done(proof)
        return proof

    async def _one(self, node: Node, witness: str, before: crm.ClusterState, marks: _Marks) -> Proof:
        fenced: float | None = None
        try:
            old = (await self._patiently(self._boot, node.name))[0]
            await self._patiently(self._boot, witness)
            start = time.monotonic()
            await self._run(witness, _script(node.name))
            fenced = time.monotonic() - start
            marks.fired.set()
            await self._returned(node, old, witness, before, start, marks)
            return Proof(node.name, _DEVICE, fenced, time.monotonic() - start)
        except _ERRORS as error:
            return Proof(node.name, _DEVICE, fenced, None, str(error) or type(error).__name__)
        finally:
            marks.fired.set()
            marks.whole.set()

    async def _returned(
        self, node: Node, old: str, witness: str, before: crm.ClusterState, start: float, marks: _Marks
    ) -> None:
        seen = "no answer"
        while time.monotonic() - start < self._limit:
            await asyncio.sleep(_PAUSE)
            try:
                boot, starting, managed = await self._boot(node.name)
                if boot == old:
                    seen = "the boot that was to be ended"
                    continue
                missing = () if marks.whole.is_set() else lost(before, await self._state(witness), node.name)
                if missing:
                    seen = f"not back: {', '.join(missing)}"
                    continue
                if not managed:
                    marks.whole.set()
                if not starting:
                    return
                seen = f"{starting} units still starting"
            except _ERRORS as error:
                seen = str(error)
        raise ProofError(f"waited {self._limit:.0f} s for {node.name} to be back after its fencing; last seen: {seen}")

    async def _patiently(self, ask: Callable[[str], Awaitable[_T]], node: str) -> _T:
        """A node that is just busy may miss one question; nothing has been done to it yet."""
        start = time.monotonic()
        while True:
            try:
                return await ask(node)
            except _ERRORS:
                if time.monotonic() - start > min(_PATIENCE, self._limit):
                    raise
                await asyncio.sleep(_PAUSE)

    async def _boot(self, node: str) -> tuple[str, int, int]:
        boot, starting, managed = (await asyncio.wait_for(self._run(node, _BOOT), 120)).split()
        return boot, int(starting), int(managed)

    async def _state(self, member: str) -> crm.ClusterState:
        return crm.parse(await asyncio.wait_for(self._run(member, crm.COMMAND), 120))


def lost(before: crm.ClusterState, after: crm.ClusterState, node: str) -> tuple[str, ...]:
    """What of `node` is not as it was: its membership, its instances with their roles; and what runs nowhere now.

    Nothing of a node that is in no cluster.
    """
    found: list[str] = []
    health = {one.name: one.health for one in after.nodes}
    if all(one.name != node for one in before.nodes):
        return ()
    if health.get(node) != "online":
        found.append(f"{node} is {health.get(node, 'absent')}")
    now = {(one.id, one.role, place) for one in after.resources for place in one.nodes}
    found += [
        f"{one.id} {one.role.lower()} on {node}"
        for one in before.resources
        if one.clone and node in one.nodes and (one.id, one.role, node) not in now
    ]
    running = {one.id for one in after.resources if one.nodes}
    found += [one.id for one in before.resources if not one.clone and one.nodes and one.id not in running]
    return tuple(found)


def _script(node: str) -> str:
    """stonith_admin ends when the cluster has turned the node off and on, or could not."""
    return f"stonith_admin --reboot {shlex.quote(node)} --timeout {_FENCE_LIMIT} 2>&1"
