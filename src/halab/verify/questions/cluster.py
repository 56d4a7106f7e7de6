"""Quorum, membership, placement and fencing of each Pacemaker cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from components.cluster.fencing import targets
from components.topology import Cluster, Topology
from halab import crm
from halab.verify.context import Context
from halab.verify.report import Finding, all_of


async def _state(context: Context, cluster: Cluster) -> crm.ClusterState:
    return crm.parse(await context.run(cluster.members[0].name, crm.COMMAND))


async def _settled(context: Context, cluster: Cluster) -> crm.ClusterState:
    """The state once every resource is where it should be, or as it is at the limit."""
    deadline = asyncio.get_running_loop().time() + context.limit
    while True:
        state = await _state(context, cluster)
        wrong = list(misplaced(context.topology, cluster, state))
        if not wrong or asyncio.get_running_loop().time() > deadline:
            return state
        await asyncio.sleep(2)


def misplaced(topology: Topology, cluster: Cluster, state: crm.ClusterState) -> Iterator[str]:
    """What is not where the topology wants it, a line each."""
    members = tuple(sorted(node.name for node in cluster.members))
    for service in sorted(topology.stack.cluster.manages):
        expected = tuple(name for name in members if service in topology.node(name).services)
        role = (
            "Promoted"
            if any(r.role in ("Promoted", "Unpromoted") for r in state.resources if r.id == service)
            else None
        )
        actual = state.where(service, role)
        if expected and actual != expected:
            yield f"{service}: {role or 'started'} on {', '.join(actual) or 'no node'}, not on {', '.join(expected)}"
    for vip in topology.vips:
        if set(vip.nodes) & set(members):
            owners = state.where(vip.resource)
            if len(owners) != 1 or owners[0] not in state.where("haproxy"):
                yield f"{vip.resource}: on {', '.join(owners) or 'no node'}, not on one node with haproxy"
    for remote in cluster.remotes:
        if len(state.where(remote.name)) != 1:
            yield f"{remote.name}: its connection is not started"
    for resource in state.resources:
        if resource.failed:
            yield f"{resource.id}: failed or blocked on {', '.join(resource.nodes) or 'no node'}"
        if resource.agent.startswith("stonith:") and len(resource.nodes) != 1:
            yield f"{resource.id}: not started"
        if not resource.managed:
            yield f"{resource.id}: not managed"


def absent(cluster: Cluster, state: crm.ClusterState) -> Iterator[str]:
    """What of quorum and membership is not as the topology wants it, a line each."""
    if not state.quorum:
        yield "no quorum"
    if state.maintenance:
        yield "maintenance mode"
    seen = {(node.name, node.type): node.health for node in state.nodes}
    for node, kind in [(n, "member") for n in cluster.members] + [(n, "remote") for n in cluster.remotes]:
        health = seen.pop((node.name, kind), "absent")
        if health != "online":
            yield f"{node.name} is {health}"
    for name, kind in seen:
        yield f"{name} ({kind}) is in the cluster and not in the topology"


async def _each(context: Context, ask: Callable[[Context, Cluster], Awaitable[list[Finding]]]) -> list[Finding]:
    """The answers of all clusters, asked at once."""
    answers = await asyncio.gather(*(ask(context, cluster) for cluster in context.topology.clusters))
    return [finding for answer in answers for finding in answer]


async def clusters(context: Context) -> list[Finding]:
    """Each cluster is quorate, whole, without failed actions, with everything where it should be."""
    return await _each(context, _cluster)


async def _cluster(context: Context, cluster: Cluster) -> list[Finding]:
    state = await _settled(context, cluster)
    online = ", ".join(node.name for node in state.nodes if node.health == "online")
    failures = (f"{f.operation} on {f.node}: {f.reason}" for f in state.failures)
    instances = f"{len(state.resources)} resource instances"
    owners = {vip.name: state.where(vip.resource) for vip in context.topology.vips}
    vips = ", ".join(f"VIP {name} on {''.join(where)}" for name, where in owners.items() if where)
    return [
        all_of(f"{cluster.name}: quorum and members", absent(cluster, state), f"DC {state.dc}; online: {online}"),
        all_of(f"{cluster.name}: no failed actions", failures, f"{instances}, 0 failures"),
        all_of(
            f"{cluster.name}: every resource where it should be",
            misplaced(context.topology, cluster, state),
            vips or instances,
        ),
    ]


async def configuration(context: Context) -> list[Finding]:
    """The live CIB passes crm_verify and the ring is encrypted and whole."""
    return await _each(context, _configuration)


async def _configuration(context: Context, cluster: Cluster) -> list[Finding]:
    script = (
        "crm_verify --live-check --verbose 2>&1 || true\n"
        "echo ---\ncorosync-cmapctl -g totem.crypto_cipher 2>&1 || true\n"
        "echo ---\ncorosync-cfgtool -n 2>&1 || true\n"
    )
    checked, cipher, ring = (await context.run(cluster.members[0].name, script)).split("---\n")
    connected = ring.count("connected") - ring.count("disconnected")
    encrypted = "=" in cipher and "none" not in cipher
    whole = connected >= len(cluster.members) - 1 and "disconnected" not in ring
    peers = f"{cipher.strip()}; {connected} of {len(cluster.members) - 1} peers connected"
    return [
        Finding(f"{cluster.name}: crm_verify is clean", not checked.strip(), checked.strip() or "no message"),
        Finding(f"{cluster.name}: the ring is encrypted and whole", encrypted and whole, peers),
    ]


async def fencing(context: Context) -> list[Finding]:
    """Every member reaches the fence daemon and sees the VMs that its cluster may fence, and no other."""
    return await _each(context, _fencing)


async def _fencing(context: Context, cluster: Cluster) -> list[Finding]:
    listing = "fence_xvm -o list -t 20 2>&1 || true\n"
    script = f"{listing}echo ---\ncrm_attribute -t crm_config -n stonith-enabled -q 2>&1 || true\n"
    expected = {node.domain for node in targets(context.topology, cluster)}
    answers = await context.everywhere(tuple(node.name for node in cluster.members), script)
    problems = []
    for node, answer in answers.items():
        listed, _, enabled = answer.partition("---\n")
        seen = {line.split()[0] for line in listed.splitlines() if line.strip()}
        if not expected <= seen:
            problems.append(f"{node} does not see {', '.join(sorted(expected - seen)) or listed.strip()}")
        if seen - expected:
            problems.append(f"{node} sees VMs that are not its cluster's: {', '.join(sorted(seen - expected))}")
        if enabled.strip() != "true":
            problems.append(f"{node}: stonith-enabled is {enabled.strip()}")
    evidence = f"{len(expected)} VMs from each member"
    return [all_of(f"{cluster.name}: fencing reaches this cluster's VMs only", problems, evidence)]


QUESTIONS = (clusters, configuration, fencing)
