"""What an architecture cannot do by its design, from its topology: named by status, verify and docs, never hidden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from components.topology import TIE_BREAKERS, Topology
from components.variant import CacheScope, Role, Service, VipManager

_PACEMAKER, _KEEPALIVED = "ha-openstack.md", "ha-keepalived.md"
_PLUMGRID, _MIRANTIS = "plumgrid-2016.md", "mirantis-2012.md"


@dataclass(frozen=True, slots=True)
class Limit:
    """`seed` and `section`: where the architecture's description says so."""

    name: str
    text: str
    seed: str
    section: str

    @property
    def source(self) -> str:
        return f'{self.seed}, "{self.section}"'


def limits(topology: Topology) -> tuple[Limit, ...]:
    """Those of a stack, in the order in which they are told. The collapsed and segregated layouts have none."""
    return tuple(_limits(topology))


def _limits(topology: Topology) -> Iterator[Limit]:
    if topology.stack.vips.manager is VipManager.KEEPALIVED:
        text = "load balancers that cannot hear one another each hold the VIPs, until they hear one another again"
        yield Limit("VRRP partition", text, _KEEPALIVED, "Keepalived and network partitions")
    alone = [s for s in (Service.GALERA, Service.RABBITMQ) if topology.running(s) and not topology.managed(s)]
    if alone:
        text = f"{' and '.join(alone)}, once all members have stopped: ./halab recover --stack {topology.stack.name}"
        yield Limit("full restart", text, _KEEPALIVED, "Manual recovery after a full cluster restart")
    if not topology.clusters:
        text = "systemd starts a process that ended again; nobody fences a node that hangs, or tells anyone"
        yield Limit("monitoring", text, _KEEPALIVED, "Service monitoring and recovery required")
        text = "it is to run on one node once it is here, and on another only by hand"
        yield Limit("cinder-volume", text, _KEEPALIVED, "Cinder-volume as a single point of failure")
    if any(node.cluster is None for node in topology.role(Role.COMPUTE)):
        text = "instances of a compute that is lost stay down until it is back"
        yield Limit("computes", text, _KEEPALIVED, "Server roles")
    if topology.managed(Service.KEYSTONE):
        text = "a clone that fails takes along those ordered after it on its node, which start again after it"
        yield Limit("clones in order", text, _PACEMAKER, "Historical Context")
    if topology.stack.cache is CacheScope.LOCAL:
        text = "a node's cache may let a token in, for up to an hour, that was revoked through another node"
        yield Limit("revoked tokens", text, _PLUMGRID, "Keystone HA")
    for breaker, service in TIE_BREAKERS.items():
        for node in topology.running(breaker):
            copies = len(topology.running(service))
            text = (
                f"{copies} nodes serve {service}, and {node.name} breaks ties: "
                f"without {node.name} and one of them it stops"
            )
            yield Limit(f"{service}'s third vote", text, _MIRANTIS, "Nodes and roles")
