"""What a stack means: nodes, addresses, VIPs, bridges and cluster membership, all derived from (stack, node).

Nothing here depends on a list index: adding or removing a node changes no other node's name, MAC or address.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from components.variant import TIERS, Membership, Role, Service, Stack, VipLayout, VipManager, image

#: First host of each role's block in the cloud network; blocks never overlap (variant/keys.py bounds counts).
_BLOCKS = {
    Role.CONTROLLER: 64,
    Role.LOADBALANCER: 96,
    Role.DATABASE: 128,
    Role.MESSAGING: 160,
    Role.ENDPOINT: 192,
    Role.STORAGE: 224,
    Role.GATEWAY: 240,
    Role.COMPUTE: 256,
    **{tier: 744 + 16 * index for index, tier in enumerate(TIERS)},
}
_VIP_BLOCK = 16
#: Services that clients reach through HAProxy (ha-openstack.md, "Proxy server"); RabbitMQ and memcached never are.
PROXIED = (Service.GALERA, Service.KEYSTONE, Service.GLANCE, Service.PLACEMENT)

#: MiB of translated code that a VM under emulation may keep: at least what a boot of any image needs (200 to 260
#: measured), since a full cache is thrown away whole. QEMU's own default is 1024, whatever the guest's size.
_TRANSLATIONS_LEAST = 320

#: Whose quorum a service's one vote is for: only a role's first node runs it.
TIE_BREAKERS = {Service.GARBD: Service.GALERA, Service.TIEBREAKER: Service.RABBITMQ}


def digest(*parts: str) -> bytes:
    """32 bytes that depend on every part and on where one ends and the next begins."""
    return hashlib.sha256("\0".join(parts).encode()).digest()


@dataclass(frozen=True, slots=True)
class Network:
    """One libvirt network; the hypervisor host is its first address. `name` is libvirt's, `bridge` ≤ 15 characters."""

    key: str
    name: str
    cidr: IPv4Network
    bridge: str

    @property
    def host(self) -> IPv4Interface:
        return IPv4Interface((self.cidr.network_address + 1, self.cidr.prefixlen))


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card; `network` is the key of the network it is on."""

    network: str
    mac: str
    address: IPv4Interface

    @property
    def ip(self) -> IPv4Address:
        return self.address.ip


@dataclass(frozen=True, slots=True)
class Node:
    """One VM. `name` is its hostname and its Pacemaker name, `domain` its libvirt name; `memory` MiB, `disk` GiB."""

    name: str
    role: Role
    ordinal: int
    domain: str
    uuid: str
    memory: int
    vcpus: int
    disk: int
    image: str
    services: tuple[Service, ...]
    cluster: str | None
    membership: Membership
    nics: tuple[Nic, ...]

    @property
    def ip(self) -> IPv4Address:
        """Its address in the cloud network."""
        return self.nics[0].ip

    @property
    def translations(self) -> int:
        """MiB of translated code that it may keep under emulation, beside its memory."""
        return max(_TRANSLATIONS_LEAST, self.memory // 4)


@dataclass(frozen=True, slots=True)
class Vip:
    """A floating address. `services` answer on it; `nodes` may hold it; `prefers` names the node to favour, if any."""

    name: str
    ip: IPv4Address
    services: tuple[Service, ...]
    nodes: tuple[str, ...]
    vrid: int
    prefers: str | None

    @property
    def resource(self) -> str:
        """Its Pacemaker resource id."""
        return f"vip-{self.name}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """One Pacemaker cluster: corosync members and pacemaker_remote nodes, in the order of their names' ordinals."""

    name: str
    members: tuple[Node, ...]
    remotes: tuple[Node, ...]


@dataclass(frozen=True)
class Topology:
    """Everything that follows from a stack file."""

    stack: Stack
    nodes: tuple[Node, ...]
    networks: tuple[Network, ...]
    vips: tuple[Vip, ...]
    clusters: tuple[Cluster, ...]

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @property
    def prefix(self) -> str:
        """What the name of every libvirt object of the stack starts with."""
        return f"halab-{self.stack.cloud}"

    @property
    def cloud(self) -> Network:
        return self.networks[0]

    @property
    def outer(self) -> Network:
        return self.networks[1]

    def node(self, name: str) -> Node:
        """Raises KeyError for a name that is not in the stack."""
        return self._by_name[name]

    def running(self, service: Service) -> tuple[Node, ...]:
        """The nodes that run a service; empty if the stack has none."""
        return tuple(node for node in self.nodes if service in node.services)

    def voters(self, service: Service) -> tuple[Node, ...]:
        """The nodes that count for a service's quorum: those that run it, and those that only break ties for it."""
        votes = {service, *(vote for vote, other in TIE_BREAKERS.items() if other is service)}
        nodes = (node for node in self.nodes if votes & set(node.services))
        return tuple(sorted(nodes, key=lambda node: service not in node.services))

    def role(self, role: Role) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role is role)

    def managed(self, service: Service) -> bool:
        """Whether Pacemaker starts and stops the service; otherwise systemd does."""
        return service in self.stack.cluster.manages

    def cluster_of(self, node: Node) -> Cluster | None:
        return next((cluster for cluster in self.clusters if cluster.name == node.cluster), None)

    def vip(self, service: Service) -> Vip:
        """The VIP on which a proxied service answers. Raises KeyError where it has none."""
        for vip in self.vips:
            if service in vip.services:
                return vip
        raise KeyError(service)

    def endpoint_host(self, service: Service) -> str:
        """The DNS name, within the cloud, of a proxied service's VIP."""
        return f"{self.vip(service).name}.{self.domain}"

    @property
    def domain(self) -> str:
        """The cloud's DNS domain (the gateway serves it)."""
        return f"{self.stack.cloud}.halab"

    @cached_property
    def memory(self) -> int:
        """MiB of all VMs together."""
        return sum(node.memory for node in self.nodes)


def _mac(stack: str, role: Role, ordinal: int, network: int) -> str:
    """Locally administered, distinct by construction: 16 bits of the stack, then network, role and ordinal.

    The tiers are one role here, in which a node's ordinal is its place in the cloud network.
    """
    if role in TIERS:
        role, ordinal = TIERS[0], _BLOCKS[role] + ordinal
    tail = (network << 14) | (list(Role).index(role) << 10) | ordinal
    return "52:54:" + ":".join(f"{byte:02x}" for byte in digest("mac", stack)[:2] + tail.to_bytes(2, "big"))


def _beside(other: IPv4Network | None, candidates: Iterable[str]) -> IPv4Network:
    """The first that the other, which the stack file gives, does not overlap."""
    return next(one for one in map(IPv4Network, candidates) if other is None or not one.overlaps(other))


def _networks(stack: Stack) -> tuple[Network, Network]:
    seed = digest("network", stack.cloud)
    cloud, outer = stack.networks.cloud, stack.networks.outer
    cloud = cloud or _beside(outer, (f"10.{32 + (seed[0] + i) % 192}.{seed[1] & 0xFC}.0/22" for i in range(192)))
    outer = outer or _beside(cloud, (f"172.{16 + (seed[2] + i) % 16}.{seed[3]}.0/24" for i in range(16)))
    tag = seed[4:8].hex()
    return (
        Network("cloud", f"halab-{stack.cloud}-cloud", cloud, f"hl{tag}c"),
        Network("outer", f"halab-{stack.cloud}-outer", outer, f"hl{tag}o"),
    )


def _nodes(stack: Stack, cloud: Network, outer: Network) -> Iterable[Node]:
    for spec in stack.roles:
        for ordinal in range(1, spec.count + 1):
            name = f"{spec.role}-{ordinal}"
            networks = (cloud, outer) if Service.GATEWAY in spec.services else (cloud,)
            yield Node(
                name=name,
                role=spec.role,
                ordinal=ordinal,
                domain=f"halab-{stack.cloud}-{name}",
                uuid=str(uuid.UUID(bytes=digest("uuid", stack.cloud, name)[:16], version=4)),
                memory=spec.memory,
                vcpus=spec.vcpus,
                disk=spec.disk,
                image=image(spec.role, spec.services),
                services=tuple(s for s in spec.services if s not in TIE_BREAKERS or ordinal == 1),
                cluster=spec.cluster,
                membership=spec.membership,
                nics=tuple(
                    Nic(
                        network.key,
                        _mac(stack.cloud, spec.role, ordinal, index),
                        IPv4Interface((network.cidr.network_address + block + ordinal - 1, network.cidr.prefixlen)),
                    )
                    for index, (network, block) in enumerate(zip(networks, (_BLOCKS[spec.role], 10), strict=False))
                ),
            )


def _vips(stack: Stack, nodes: tuple[Node, ...], cloud: Network) -> Iterable[Vip]:
    service = Service.KEEPALIVED if stack.vips.manager is VipManager.KEEPALIVED else Service.HAPROXY
    holders = tuple(node.name for node in nodes if service in node.services)
    offered = tuple(s for s in PROXIED if any(s in node.services for node in nodes))
    groups = [("cloud", offered)] if stack.vips.layout is VipLayout.SHARED else [(str(s), (s,)) for s in offered]
    order = list(Service)
    for name, services in groups:
        index = order.index(services[0])
        yield Vip(
            name=name,
            ip=cloud.cidr.network_address + _VIP_BLOCK + index,
            services=services,
            nodes=holders,
            vrid=(digest("vrid", stack.cloud)[0] % 15) * 16 + index + 1,
            prefers=holders[PROXIED.index(services[0]) % len(holders)] if stack.vips.spread and holders else None,
        )


def derive(stack: Stack) -> Topology:
    """The topology of a stack. Pure: the same stack always gives the same topology."""
    cloud, outer = _networks(stack)
    nodes = tuple(_nodes(stack, cloud, outer))
    names = sorted({node.cluster for node in nodes if node.cluster})
    clusters = tuple(
        Cluster(
            name,
            tuple(n for n in nodes if n.cluster == name and n.membership is Membership.FULL),
            tuple(n for n in nodes if n.cluster == name and n.membership is Membership.REMOTE),
        )
        for name in names
    )
    return Topology(stack, nodes, (cloud, outer), tuple(_vips(stack, nodes, cloud)), clusters)
