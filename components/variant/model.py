"""What a stack can be: its kinds and its frozen values. Which values are allowed is components/variant/keys.py's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network


class Variant(StrEnum):
    """The seeds' architectures. A label: what differs is in the other keys, never in a branch on this value."""

    COLLAPSED = "collapsed"
    SEGREGATED = "segregated"
    KEEPALIVED = "keepalived"
    CLONED = "cloned"
    ENDPOINT = "endpoint"


class Role(StrEnum):
    """What a node is for. The order is that of address blocks and never changes.

    From CACHE on: the tiers of a cloud that has a cluster for each of its services. What a tier is called says what it
    is meant for; what runs on it is what its `services` say.
    """

    CONTROLLER = "controller"
    LOADBALANCER = "loadbalancer"
    DATABASE = "database"
    MESSAGING = "messaging"
    ENDPOINT = "endpoint"
    STORAGE = "storage"
    GATEWAY = "gateway"
    COMPUTE = "compute"
    CACHE = "cache"
    IDENTITY = "identity"
    IMAGE = "image"
    PLACEMENT = "placement"
    VOLUME = "volume"
    OBJECT = "object"
    OBJECTSTORE = "objectstore"
    NETWORK = "network"
    DASHBOARD = "dashboard"
    ORCHESTRATION = "orchestration"
    TELEMETRY = "telemetry"
    METRICS = "metrics"
    ALARMING = "alarming"


#: The roles that are tiers of one service each.
TIERS = tuple(Role)[tuple(Role).index(Role.CACHE) :]


class Membership(StrEnum):
    """How a node belongs to a Pacemaker cluster: a corosync member, a pacemaker_remote node, or not at all."""

    FULL = "full"
    REMOTE = "remote"
    NONE = "none"


class Service(StrEnum):
    """What a node can run. The order is the order of VIP addresses and never changes."""

    GALERA = "galera"
    RABBITMQ = "rabbitmq"
    MEMCACHED = "memcached"
    HAPROXY = "haproxy"
    KEYSTONE = "keystone"
    GLANCE = "glance"
    PLACEMENT = "placement"
    NFS = "nfs"
    GATEWAY = "gateway"
    KEEPALIVED = "keepalived"
    REDIS = "redis"
    GARBD = "garbd"
    TIEBREAKER = "rabbitmq-tiebreaker"


class VipManager(StrEnum):
    PACEMAKER = "pacemaker"
    KEEPALIVED = "keepalived"


class VipLayout(StrEnum):
    """One VIP per proxied service, or one for all of them."""

    PER_SERVICE = "per-service"
    SHARED = "shared"


class CacheScope(StrEnum):
    """Which memcached an API uses: all of them as one cache, or the one on its own node alone."""

    SHARED = "shared"
    LOCAL = "local"


class Fencing(StrEnum):
    """XVM: fence_xvm against the stack's own fence_virtd. NONE only where no Pacemaker cluster exists."""

    XVM = "xvm"
    NONE = "none"


#: The image of a role's nodes where it has what they run.
IMAGES: Mapping[Role, str] = {
    **dict.fromkeys(Role, "controller"),
    Role.COMPUTE: "compute",
    Role.STORAGE: "storage",
    Role.GATEWAY: "gateway",
}
#: The services whose packages each image has.
CARRIES: Mapping[str, frozenset[Service]] = {
    "controller": frozenset(Service) - {Service.NFS, Service.GATEWAY},
    "compute": frozenset(),
    "storage": frozenset({Service.NFS}),
    "gateway": frozenset({Service.GATEWAY}),
}


def image(role: Role, services: Iterable[Service]) -> str:
    """The image of a role's nodes: the role's own, or the controllers' for what only that one has."""
    own = IMAGES[role]
    return own if CARRIES[own].issuperset(services) else "controller"


#: The services that Pacemaker has a resource for.
MANAGEABLE = (
    Service.GALERA,
    Service.RABBITMQ,
    Service.MEMCACHED,
    Service.HAPROXY,
    Service.KEYSTONE,
    Service.GLANCE,
    Service.PLACEMENT,
)
_PLATFORM = frozenset(Role) - {Role.STORAGE, Role.GATEWAY, Role.COMPUTE}
_APIS = frozenset({Service.KEYSTONE, Service.GLANCE, Service.PLACEMENT})
#: Which roles can run a service: those whose nodes boot an image that has it, and for the APIs also computes.
HOMES: Mapping[Service, frozenset[Role]] = {
    **{service: _PLATFORM | {Role.COMPUTE} if service in _APIS else _PLATFORM for service in Service},
    Service.NFS: frozenset({Role.STORAGE}),
    Service.GATEWAY: frozenset({Role.GATEWAY}),
}
#: Which roles can belong to a cluster, and how: the packages of members and remote nodes exclude each other, so that
#: the controllers' image has no pacemaker_remote.
MEMBERS: Mapping[Membership, frozenset[Role]] = {
    Membership.FULL: _PLATFORM,
    Membership.REMOTE: frozenset({Role.COMPUTE}),
    Membership.NONE: frozenset(Role),
}


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """One role's nodes: `memory` in MiB, `disk` in GiB; `cluster` names the Pacemaker cluster they belong to."""

    role: Role
    count: int
    memory: int
    vcpus: int
    disk: int
    services: tuple[Service, ...]
    cluster: str | None
    membership: Membership


@dataclass(frozen=True, slots=True)
class Networks:
    """`cloud` joins all nodes; `outer` is the outside, where only gateways have a foot. None: derived from the name."""

    cloud: IPv4Network | None = None
    outer: IPv4Network | None = None


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What Pacemaker manages and how it fences. `manages`: the services that are its resources, not systemd's."""

    manages: frozenset[Service] = frozenset()
    fencing: Fencing = Fencing.XVM


@dataclass(frozen=True, slots=True)
class Vips:
    manager: VipManager = VipManager.PACEMAKER
    layout: VipLayout = VipLayout.PER_SERVICE
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Timers:
    """Milliseconds for `token` (corosync.conf(5)), seconds for the others."""

    token: int = 10_000
    stonith: int = 120
    recheck: int = 60
    remote_monitor: int = 20
    haproxy_check: int = 1
    galera_suspect: int = 20


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """`uri`: a libvirt URI, "system" (qemu:///system), "embedded", or "auto"; `domain_type`: kvm, qemu or auto.

    `disk_cache`: QEMU's cache mode of the nodes' disks. "unsafe" is fast and forgets unflushed writes only when the
    hypervisor itself dies; a test of that needs "none" or "writeback".
    """

    uri: str = "auto"
    domain_type: str = "auto"
    disk_cache: str = "unsafe"


@dataclass(frozen=True, slots=True)
class Stack:
    """One cloud as asked for."""

    name: str
    variant: Variant
    roles: tuple[RoleSpec, ...]
    networks: Networks = field(default_factory=Networks)
    cluster: ClusterOptions = field(default_factory=ClusterOptions)
    vips: Vips = field(default_factory=Vips)
    timers: Timers = field(default_factory=Timers)
    suite: str = "trixie"
    cache: CacheScope = CacheScope.SHARED
    hypervisor: Hypervisor = field(default_factory=Hypervisor)
    fork_of: str | None = None

    @property
    def cloud(self) -> str:
        """What guests and libvirt objects are named after: the stack, or the one that it is a fork of."""
        return self.fork_of or self.name

    def role(self, role: Role) -> RoleSpec | None:
        return next((spec for spec in self.roles if spec.role is role), None)
