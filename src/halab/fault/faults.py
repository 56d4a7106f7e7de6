"""The faults there are: to whom they apply, what they do, what is to come of them. All of it asked of the topology.

Goals are those of OPNFV Yardstick's HA cases, ETSI's service availability levels and fuel-qa, in seconds: what a client
may notice, and "well", until the cluster is as it was.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from components.services import openstack
from components.topology import Node, Topology
from components.variant import Membership, Role, Service, VipManager

#: Roles without a second node to take over by design: switched off, they are an outage that says nothing of a cluster.
_SINGLE = frozenset({Role.STORAGE, Role.GATEWAY, Role.COMPUTE})
Goals = Mapping[str, float]
Inject: TypeAlias = "Callable[[Scene], Coroutine[Any, Any, tuple[str, ...]]]"
Heal: TypeAlias = "Callable[[Scene, tuple[str, ...]], Coroutine[Any, Any, str]]"


class Switch(Protocol):
    """What halab.fault.power.Power does, blocking."""

    def off(self, node: str) -> None: ...
    def on(self, node: str) -> None: ...
    def freeze(self, node: str) -> None: ...
    def thaw(self, node: str) -> None: ...
    def link(self, node: str, *, up: bool) -> None: ...


@dataclass(frozen=True)
class Scene:
    """The cloud just before the fault. `owners`: VIP name to node; `writer`: the node of the active database backend.

    `run(node, script)` on a node; `strike()` marks the moment of the fault: called right before the blow.
    `recover()` is what an operator does after a full outage that no cluster mends.
    """

    topology: Topology
    power: Switch
    run: Callable[[str, str], Awaitable[str]]
    strike: Callable[[str], None]
    owners: Mapping[str, str]
    writer: str
    recover: Callable[[], Awaitable[object]]
    chance: random.Random = field(default_factory=random.Random)

    @property
    def owner(self) -> str:
        """The holder of the VIP that all services depend on: the database's."""
        return self.owners[self.topology.vip(Service.GALERA).name]

    def bystander(self, service: Service) -> str:
        """A node of the service that holds no VIP and is not the database's writer; of several the last."""
        busy = {*self.owners.values(), self.writer}
        nodes = [node.name for node in self.topology.running(service)]
        return ([name for name in nodes if name not in busy] or nodes)[-1]


@dataclass(frozen=True, slots=True)
class Fault:
    """`inject` returns the nodes that were hit; `heal` is what an operator does then where no cluster does it itself:
    it returns the words for it, "" for nothing.

    `lacking`: why a topology cannot have it, "" if it can. `expects` is for people, `goals` for the comparison.
    """

    name: str
    does: str
    expects: str
    inject: Inject
    goals: Callable[[Topology], Goals]
    lacking: Callable[[Topology], str] = lambda topology: ""
    heal: Heal | None = None


def _by_vip_manager(pacemaker: Goals, keepalived: Goals) -> Callable[[Topology], Goals]:
    return lambda topology: keepalived if topology.stack.vips.manager is VipManager.KEEPALIVED else pacemaker


def core(topology: Topology) -> tuple[Node, ...]:
    """The nodes that the cloud's own clusters are made of."""
    return tuple(node for node in topology.nodes if node.role not in _SINGLE)


async def _owner_off(scene: Scene) -> tuple[str, ...]:
    return _off(scene, scene.owner)


async def _member_off(scene: Scene) -> tuple[str, ...]:
    return _off(scene, scene.bystander(Service.GALERA))


def _off(scene: Scene, victim: str) -> tuple[str, ...]:
    scene.strike(f"{victim} switched off")
    scene.power.off(victim)
    return (victim,)


async def _cut(scene: Scene) -> tuple[str, ...]:
    victim = scene.owner
    scene.strike(f"{victim} cut off from all networks")
    scene.power.link(victim, up=False)
    return (victim,)


async def _freeze(scene: Scene) -> tuple[str, ...]:
    victim = scene.owner
    scene.strike(f"{victim} frozen")
    scene.power.freeze(victim)
    return (victim,)


async def _all_off(scene: Scene) -> tuple[str, ...]:
    victims = [node.name for node in core(scene.topology)]
    scene.strike(f"{', '.join(victims)} switched off")
    for victim in victims:
        scene.power.off(victim)
    scene.chance.shuffle(victims)
    for victim in victims:
        scene.power.on(victim)
    return tuple(victims)


def _kill(process: str, whom: Callable[[Scene], str]) -> Inject:
    """SIGKILL to every process of that name on one node."""

    async def inject(scene: Scene) -> tuple[str, ...]:
        victim = whom(scene)
        scene.strike(f"{process} killed on {victim}")
        await scene.run(victim, f"pkill -KILL -x {process}\n")
        return (victim,)

    return inject


async def _kill_keystone(scene: Scene) -> tuple[str, ...]:
    victim = scene.bystander(Service.KEYSTONE)
    scene.strike(f"keystone killed on {victim}")
    await scene.run(victim, f"systemctl kill --kill-whom=all --signal=KILL {openstack.KEYSTONE.unit}.service\n")
    return (victim,)


def _member_beside(scene: Scene) -> str:
    """A full cluster member that holds no VIP; one of a cluster that has a database, if any."""
    members = [node.name for cluster in scene.topology.clusters for node in cluster.members]
    preferred = scene.bystander(Service.GALERA)
    return preferred if preferred in members else [m for m in members if m not in scene.owners.values()][-1]


def _unfenced(what: str, act: Callable[[Switch, str], None]) -> Heal:
    """Where nobody fences a machine, nobody switches it on again either."""

    async def heal(scene: Scene, victims: tuple[str, ...]) -> str:
        mine = [victim for victim in victims if not fenced(scene.topology, victim)]
        for victim in mine:
            act(scene.power, victim)
        return f"{', '.join(mine)} {what}" if mine else ""

    return heal


async def _recover(scene: Scene, victims: tuple[str, ...]) -> str:
    if any(fenced(scene.topology, victim) for victim in victims):
        return ""
    await scene.recover()
    return "./halab recover"


def fenced(topology: Topology, node: str) -> bool:
    """Whether a cluster would fence the node by itself."""
    return topology.node(node).membership is not Membership.NONE


def _needs_cluster(topology: Topology) -> str:
    return "" if topology.clusters else "no corosync anywhere"


_OWNER_LOST = _by_vip_manager(
    {"ping": 25, "api": 30, "token": 30, "database": 30}, {"ping": 5, "api": 10, "token": 10, "database": 15}
)
_PROXY_LOST = _by_vip_manager(
    {"ping": 20, "api": 20, "token": 20, "database": 20}, {"ping": 10, "api": 10, "token": 10, "database": 10}
)

FAULTS = (
    Fault(
        "vip-owner-off",
        "hard power-off of the node that holds the database's VIP",
        "the VIPs move, the database answers from another node; a cluster fences the node and takes it back",
        _owner_off,
        _OWNER_LOST,
        heal=_unfenced("switched on", lambda power, node: power.on(node)),
    ),
    Fault(
        "member-off",
        "hard power-off of a database member that holds no VIP and takes no writes",
        "reads hardly notice, writes pause until Galera drops the member; a cluster fences it and takes it back",
        _member_off,
        lambda topology: {"ping": 5, "api": 5, "token": 5, "database": 15},
        heal=_unfenced("switched on", lambda power, node: power.on(node)),
    ),
    Fault(
        "proxy-kill",
        "kill -9 of HAProxy on the node that holds the database's VIP",
        "HAProxy is started again or the VIPs move, whichever is sooner",
        _kill("haproxy", lambda scene: scene.owner),
        _PROXY_LOST,
    ),
    Fault(
        "api-kill",
        "kill -9 of one keystone",
        "HAProxy sends requests to the others; the killed one is started again",
        _kill_keystone,
        lambda topology: {"api": 5, "token": 5, "well": 30},
    ),
    Fault(
        "database-kill",
        "kill -9 of the MariaDB that takes the writes",
        "HAProxy moves all clients to another member; the killed one is started again and joins; no write is lost",
        _kill("mariadbd", lambda scene: scene.writer),
        lambda topology: {"database": 15, "well": 300},
    ),
    Fault(
        "queue-kill",
        "kill -9 of one RabbitMQ",
        "quorum queues go on with the others; the killed one is started again and joins",
        _kill("beam.smp", lambda scene: scene.bystander(Service.RABBITMQ)),
        lambda topology: {"api": 5, "token": 5, "well": 180},
    ),
    Fault(
        "corosync-kill",
        "kill -9 of corosync on a cluster member that holds no VIP",
        "the cluster fences the node and takes it back",
        _kill("corosync", _member_beside),
        lambda topology: {"api": 5, "token": 5, "well": 300},
        lacking=_needs_cluster,
    ),
    Fault(
        "network-cut",
        "all network cables of the node that holds the database's VIP pulled",
        "a cluster fences the node before anything is started elsewhere; nowhere are there two owners of a VIP",
        _cut,
        _OWNER_LOST,
        heal=_unfenced("connected again", lambda power, node: power.link(node, up=True)),
    ),
    Fault(
        "freeze",
        "the node that holds the database's VIP stands still, for longer than corosync's token",
        "as if it were switched off: a process that hangs is no process that works",
        _freeze,
        _OWNER_LOST,
        heal=_unfenced("thawed", lambda power, node: power.thaw(node)),
    ),
    Fault(
        "all-off",
        "hard power-off of every node of the cloud's clusters, and on again in random order",
        "it comes back by itself where a cluster manages it, by ./halab recover where none does; no write is lost",
        _all_off,
        lambda topology: {"well": 900 if len(topology.clusters) < 2 else 1200},
        heal=_recover,
    ),
)


def active_backend(stats: str, proxy: str) -> str:
    """The server of a proxy that has most clients now, of equal ones the one that is no backup; "" where none is up.

    `stats`: HAProxy's answer to `show stat` (CSV; management guide, 9.1).
    """
    rows = csv.DictReader(stats.lstrip("# ").splitlines())
    up = [
        (int(row.get("scur") or 0), row.get("act") == "1", row.get("svname") or "")
        for row in rows
        if row.get("pxname") == proxy
        and row.get("svname") not in ("FRONTEND", "BACKEND")
        and (row.get("status") or "").startswith("UP")
    ]
    return max(up)[2] if up else ""


def find(name: str) -> Fault:
    """Raises KeyError."""
    return {fault.name: fault for fault in FAULTS}[name]
