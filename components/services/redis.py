"""Redis with Sentinel: coordination for services that lock through it; the sentinels choose the master."""

from __future__ import annotations

from pathlib import Path

from components.parts import ServicePart
from components.recipe import File, Recipe
from components.steps import Step, on, starts
from components.topology import Node, Topology
from components.variant import Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
PASSWORD = "REDIS_AUTH"
PORT = 6379
SENTINEL_PORT = 26379
_NOTICE = 2


def config(topology: Topology, node: Node) -> str:
    """The first redis.conf of a node. Redis rewrites it: it is placed once and then belongs to Redis."""
    first = topology.running(Service.REDIS)[0]
    replica = "" if node is first else f"replicaof {first.ip} {PORT}\n"
    return f"""bind {node.ip}
port {PORT}
protected-mode yes
requirepass @{{{PASSWORD}}}
masterauth @{{{PASSWORD}}}
dir /var/lib/redis
appendonly yes
supervised systemd
{replica}"""


def sentinel(topology: Topology, node: Node) -> str:
    """The first sentinel.conf of a node, likewise Sentinel's own from then on.

    Two sentinels that miss the master begin an election, in which the majority of all decides: so the text is the same
    whoever joins or leaves later.
    """
    nodes = topology.running(Service.REDIS)
    return f"""bind {node.ip}
port {SENTINEL_PORT}
dir /var/lib/redis
supervised systemd
requirepass @{{{PASSWORD}}}
sentinel sentinel-pass @{{{PASSWORD}}}
sentinel monitor {topology.stack.cloud} {nodes[0].ip} {PORT} {_NOTICE}
sentinel auth-pass {topology.stack.cloud} @{{{PASSWORD}}}
sentinel down-after-milliseconds {topology.stack.cloud} 10000
sentinel failover-timeout {topology.stack.cloud} 60000
"""


def steps(topology: Topology) -> tuple[Step, ...]:
    nodes = topology.running(Service.REDIS)
    configure = tuple(
        Step(
            name=on(RECIPE, "configure", node.name),
            node=node.name,
            recipe=RECIPE,
            action="configure",
            files=(
                File("/etc/redis/halab-redis.conf", config(topology, node), "root", "redis", 0o640),
                File("/etc/redis/halab-sentinel.conf", sentinel(topology, node), "root", "redis", 0o640),
            ),
            secrets=frozenset({PASSWORD}),
            after=frozenset({f"machine.secrets@{node.name}"}),
        )
        for node in nodes
    )
    start = starts(RECIPE, configure)
    ready = Step(
        name="redis.ready",
        node=nodes[0].name,
        recipe=RECIPE,
        action="ready",
        env={
            "SENTINELS": " ".join(str(node.ip) for node in nodes),
            "PORT": str(SENTINEL_PORT),
            "NAME": topology.stack.cloud,
            "OTHERS": str(len(nodes) - 1),
        },
        after=frozenset(step.name for step in start),
    )
    return (*configure, *start, ready)


PART = ServicePart(Service.REDIS, steps)
