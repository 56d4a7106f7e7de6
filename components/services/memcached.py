"""memcached on its node's address; clients hold the list of all members, nothing is proxied or replicated."""

from __future__ import annotations

from pathlib import Path

from components.parts import UNIT_AGENT, Operation, Resource, ServicePart
from components.recipe import File, Recipe
from components.steps import Step, on, starts
from components.topology import Node, Topology
from components.variant import Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
PORT = 11211


def config(node: Node) -> str:
    """memcached.conf as Debian's wrapper reads it: one option a line. UDP is off (amplification)."""
    return f"-m 64\n-p {PORT}\n-U 0\n-u memcache\n-l {node.ip}\n-c 1024\n-P /var/run/memcached/memcached.pid\n"


def steps(topology: Topology) -> tuple[Step, ...]:
    nodes = topology.running(Service.MEMCACHED)
    managed = topology.managed(Service.MEMCACHED)
    configure = tuple(
        Step(
            name=on(RECIPE, "configure", node.name),
            node=node.name,
            recipe=RECIPE,
            action="configure",
            files=(File("/etc/memcached.conf", config(node)),),
            after=frozenset({f"machine.secrets@{node.name}"}),
        )
        for node in nodes
    )
    start = () if managed else starts(RECIPE, configure)
    ready = Step(
        name="memcached.ready",
        node=nodes[0].name,
        recipe=RECIPE,
        action="ready",
        env={"MEMBERS": " ".join(str(node.ip) for node in nodes), "PORT": str(PORT)},
        after=frozenset({"pacemaker.ready"} if managed else {step.name for step in start}),
        timeout=900,
    )
    return (*configure, *start, ready)


def resource(topology: Topology) -> Resource:
    operations = (Operation("start", timeout=300), Operation("stop", timeout=120), Operation("monitor", 60, 60))
    unit = {"unit": "memcached.service"}
    return Resource(Service.MEMCACHED, UNIT_AGENT, operations, unit, meta={"interleave": "true"})


PART = ServicePart(Service.MEMCACHED, steps, resource)
