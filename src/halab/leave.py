"""What a node stops before its VM goes, so that nobody has to find out that it is gone.

Pacemaker's own services are not among it: its cluster has them stop, by standby.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from components.recipe import Recipe
from components.services import galera, openstack
from components.topology import Node, Topology, derive
from components.variant import Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
#: In the order in which they are stopped: the addresses go first; then the APIs, since a load balancer sends a request
#: elsewhere at once where a connection is refused, but waits for a VM that is gone; then what votes.
_UNITS = {
    Service.KEEPALIVED: ("keepalived",),
    **{api.service: (api.unit,) for api in openstack.APIS},
    Service.GALERA: ("mariadb",),
    Service.GARBD: ("garb",),
    Service.REDIS: ("redis-server", "redis-sentinel"),
    Service.RABBITMQ: ("rabbitmq-server",),
    Service.TIEBREAKER: ("rabbitmq-server",),
}


def units(topology: Topology, node: Node) -> tuple[str, ...]:
    """The systemd units that the node stops; empty where Pacemaker sees to all."""
    return tuple(
        unit
        for service, units in _UNITS.items()
        if service in node.services and not topology.managed(service)
        for unit in units
    )


def script(topology: Topology, node: Node) -> str:
    """What `bash -s` is given on the node."""
    values = {"UNITS": " ".join(units(topology, node)), "PORT": str(galera.PORT)}
    return f"set -- leave\n{RECIPE.script('leave', values, ())}"


def with_nodes(topology: Topology, names: tuple[str, ...]) -> Topology:
    """The topology in which nodes that a smaller count took out are there again, as they were."""
    counts: dict[str, int] = {}
    for name in names:
        role, _, ordinal = name.rpartition("-")
        if ordinal.isdigit():
            counts[role] = max(counts.get(role, 0), int(ordinal))
    roles = tuple(replace(one, count=max(one.count, counts.get(str(one.role), 0))) for one in topology.stack.roles)
    return derive(replace(topology.stack, roles=roles))
