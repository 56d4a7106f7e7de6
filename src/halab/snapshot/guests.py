"""What is asked of the guests around a save: whether their clusters are well, and what time it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from components.topology import Cluster, Topology
from halab import crm
from halab.errors import HalabError
from halab.remote import Remote, RemoteError

#: Seconds for one answer of a node that runs.
ANSWER_LIMIT = 45.0
#: Seconds for nodes that were brought back to let somebody in, and for clusters to be quorate again.
RETURN_LIMIT = 120.0


async def problems(topology: Topology, remote: Remote) -> list[str]:
    """Why a cloud is not well enough to be saved, a line each: what a restore would bring back for ever."""
    found = await asyncio.gather(*(_problem(cluster, remote) for cluster in topology.clusters))
    return [problem for problem in found if problem]


async def _problem(cluster: Cluster, remote: Remote) -> str | None:
    """Asks each full member until one answers for the cluster."""
    reasons = []
    for member in cluster.members:
        try:
            outcome = await remote.execute(member.name, crm.COMMAND, limit=ANSWER_LIMIT)
            return _wrong(cluster, crm.parse(outcome.stdout))
        except RemoteError as error:
            reasons.append(str(error))
        except ValueError:
            reasons.append(f"{member.name}: its Pacemaker does not run")
    return f"cluster {cluster.name}: no member answers ({'; '.join(reasons)})"


def _wrong(cluster: Cluster, state: crm.ClusterState) -> str | None:
    if not state.quorum:
        return f"cluster {cluster.name}: no quorum"
    health = {node.name: node.health for node in state.nodes}
    bad = [
        f"{node.name} {health.get(node.name, 'unknown')}"
        for node in (*cluster.members, *cluster.remotes)
        if health.get(node.name) != "online"
    ]
    return f"cluster {cluster.name}: {', '.join(bad)}" if bad else None


async def wait_until_well(topology: Topology, remote: Remote) -> None:
    """Until every cluster is quorate with all its nodes online. Raises HalabError with what was seen last."""
    deadline = time.monotonic() + RETURN_LIMIT
    while wrong := await problems(topology, remote):
        if time.monotonic() > deadline:
            raise HalabError(
                f"awaited for {RETURN_LIMIT:.0f} s that all nodes are online in a quorate cluster, saw: "
                f"{'; '.join(wrong)}; what a node says: ./halab logs NODE"
            )
        await asyncio.sleep(0.5)


async def set_clocks(remote: Remote, nodes: Iterable[str]) -> dict[str, str]:
    """Give each node this host's time; node to why it could not be. Monotonic clocks, by which cluster, database and
    queue measure, went on from where they stopped; certificates, tokens and logs go by the time of day.
    """

    async def one(node: str) -> tuple[str, str]:
        try:
            # a login takes seconds; only then is the time known that will be set
            await remote.dial(node, limit=RETURN_LIMIT)
            done = await remote.execute(node, f"date -u -s @{time.time():.3f} >/dev/null", limit=RETURN_LIMIT)
        except RemoteError as error:
            return node, str(error)
        return node, "" if done.status == 0 else f"{node}: {done.stderr.strip() or done.status}"

    return {node: problem for node, problem in await asyncio.gather(*map(one, nodes)) if problem}
