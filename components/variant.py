"""A stack file as frozen values: what was asked for, checked, before any of it means a VM.

`stacks/Pulumi.<stack>.yaml` is the Pulumi stack file; halab's part is the object under `config: halab:stack:`.
`parse` reports every mistake of a file at once, one line each: key, value and the rule it breaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, TypeVar

import yaml

CONFIG_KEY = "halab:stack"
STACK_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")
DISK_CACHES = ("unsafe", "writeback", "none", "directsync")
#: Corosync's documented limit of full members (ha-openstack.md, "Overall Design").
MAX_MEMBERS = 16


class Variant(StrEnum):
    """The seeds' architectures. A label: what differs is in the other keys, never in a branch on this value."""

    COLLAPSED = "collapsed"
    SEGREGATED = "segregated"
    KEEPALIVED = "keepalived"
    CLONED = "cloned"
    ENDPOINT = "endpoint"


class Role(StrEnum):
    """What a node is for. The order is the order of address blocks and never changes."""

    CONTROLLER = "controller"
    LOADBALANCER = "loadbalancer"
    DATABASE = "database"
    MESSAGING = "messaging"
    ENDPOINT = "endpoint"
    STORAGE = "storage"
    GATEWAY = "gateway"
    COMPUTE = "compute"


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


class VipManager(StrEnum):
    PACEMAKER = "pacemaker"
    KEEPALIVED = "keepalived"


class VipLayout(StrEnum):
    """One VIP per proxied service, or one for all of them."""

    PER_SERVICE = "per-service"
    SHARED = "shared"


class Fencing(StrEnum):
    """XVM: fence_xvm against the stack's own fence_virtd. NONE only where no Pacemaker cluster exists."""

    XVM = "xvm"
    NONE = "none"


#: Which image a role's nodes boot.
IMAGES: Mapping[Role, str] = {
    **dict.fromkeys(Role, "controller"),
    Role.COMPUTE: "compute",
    Role.STORAGE: "storage",
    Role.GATEWAY: "gateway",
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
    hypervisor: Hypervisor = field(default_factory=Hypervisor)
    fork_of: str | None = None

    @property
    def cloud(self) -> str:
        """What guests and libvirt objects are named after: the stack, or the one that it is a fork of."""
        return self.fork_of or self.name

    def role(self, role: Role) -> RoleSpec | None:
        return next((spec for spec in self.roles if spec.role is role), None)


class StackError(ValueError):
    """A stack file that cannot be used; `problems` has one line per mistake."""

    def __init__(self, source: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


E = TypeVar("E", bound=StrEnum)


class _Reader:
    """Takes keys out of one mapping and notes what breaks a rule; a default stands in so that reading goes on."""

    def __init__(self, raw: object, path: str, problems: list[str]) -> None:
        self.path, self.problems = path, problems
        self.left: dict[str, Any] = {}
        if isinstance(raw, Mapping):
            self.left = {str(key): value for key, value in raw.items()}
        elif raw is not None:
            self.problem("", raw, "a mapping of keys is needed")

    def problem(self, key: str, value: object, rule: str) -> None:
        where = ".".join(part for part in (self.path, key) if part)
        self.problems.append(f"{where}: {value!r}: {rule}")

    def integer(self, key: str, default: int, low: int, high: int, unit: str = "") -> int:
        value = self.left.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.problem(key, value, f"a whole number from {low} to {high}{unit and ' ' + unit} is needed")
            return default
        return value

    def boolean(self, key: str, default: bool) -> bool:
        value = self.left.pop(key, default)
        if not isinstance(value, bool):
            self.problem(key, value, "true or false is needed")
            return default
        return value

    def choice(self, key: str, kind: type[E], default: E | None) -> E | None:
        value = self.left.pop(key, default)
        if value is None and default is None:
            self.problem(key, None, f"one of {', '.join(kind)} is needed")
            return None
        try:
            return kind(value)
        except ValueError:
            self.problem(key, value, f"one of {', '.join(kind)} is needed")
            return default

    def choices(self, key: str, kind: type[E], default: tuple[E, ...]) -> tuple[E, ...]:
        value = self.left.pop(key, list(default))
        if not isinstance(value, list):
            self.problem(key, value, f"a list of {', '.join(kind)} is needed")
            return default
        found: list[E] = []
        for item in value:
            if item not in list(kind):
                self.problem(key, item, f"one of {', '.join(kind)} is needed")
            elif item in found:
                self.problem(key, item, "is listed twice")
            else:
                found.append(kind(item))
        return tuple(found)

    def text(self, key: str, default: str | None, rule: str, valid: Callable[[str], bool]) -> str | None:
        value = self.left.pop(key, default)
        if value is not None and (not isinstance(value, str) or not valid(value)):
            self.problem(key, value, rule)
            return default
        return value

    def network(self, key: str, longest: int) -> IPv4Network | None:
        value = self.left.pop(key, "auto")
        if value == "auto":
            return None
        try:
            network = IPv4Network(value)
        except ValueError:
            self.problem(key, value, "a network like 10.20.0.0/22 (no host bits), or auto, is needed")
            return None
        if not network.is_private:
            self.problem(key, value, "a private network (RFC 1918) is needed")
        elif not 16 <= network.prefixlen <= longest:
            self.problem(key, value, f"a prefix from /16 to /{longest} is needed, to hold every role's addresses")
        else:
            return network
        return None

    def sub(self, key: str) -> _Reader:
        return _Reader(self.left.pop(key, None), ".".join(part for part in (self.path, key) if part), self.problems)

    def done(self, known: Iterable[str]) -> None:
        for key, value in self.left.items():
            self.problem(key, value, f"unknown key; known here: {', '.join(known)}")


#: Per role: default count, memory in MiB, disk in GiB, most nodes (the size of its address block).
_ROLE_DEFAULTS: Mapping[Role, tuple[int, int, int, int]] = {
    Role.CONTROLLER: (3, 3072, 8, 32),
    Role.LOADBALANCER: (3, 768, 8, 32),
    Role.DATABASE: (3, 1536, 8, 32),
    Role.MESSAGING: (3, 1536, 8, 32),
    Role.ENDPOINT: (2, 768, 8, 32),
    Role.STORAGE: (1, 640, 12, 16),
    Role.GATEWAY: (1, 512, 8, 16),
    Role.COMPUTE: (1, 768, 8, 744),
}
_CLUSTER_NAME = re.compile(r"[a-z][a-z0-9-]{0,14}")


def _role(reader: _Reader, role: Role) -> RoleSpec:
    count, memory, disk, most = _ROLE_DEFAULTS[role]
    spec = RoleSpec(
        role=role,
        count=reader.integer("count", count, 1, most, "nodes"),
        memory=reader.integer("memory", memory, 256, 1_048_576, "MiB"),
        vcpus=reader.integer("vcpus", 1, 1, 64, "virtual CPUs"),
        disk=reader.integer("disk", disk, 4, 4096, "GiB"),
        services=reader.choices("services", Service, ()),
        cluster=reader.text(
            "cluster", None, "a cluster name of a-z, 0-9 and - is needed", lambda v: bool(_CLUSTER_NAME.fullmatch(v))
        ),
        membership=reader.choice("membership", Membership, Membership.NONE) or Membership.NONE,
    )
    reader.done(("count", "memory", "vcpus", "disk", "services", "cluster", "membership"))
    if spec.cluster is None and spec.membership is not Membership.NONE:
        reader.problem("membership", spec.membership, "needs the name of a cluster beside it (key cluster)")
    if spec.cluster is not None and spec.membership is Membership.NONE:
        reader.problem("cluster", spec.cluster, "needs membership: full or remote beside it")
    return spec


def _check_quorum(stack: Stack, problems: list[str]) -> None:
    clusters = {spec.cluster for spec in stack.roles if spec.cluster}
    for cluster in sorted(clusters):
        full = [s for s in stack.roles if s.cluster == cluster and s.membership is Membership.FULL]
        members = sum(spec.count for spec in full)
        key = "roles." + "+".join(spec.role for spec in full) + ".count" if full else "roles"
        if members == 0:
            problems.append(f"{key}: 0: cluster {cluster} has pacemaker_remote nodes but no full member")
        elif members > MAX_MEMBERS:
            problems.append(f"{key}: {members}: a cluster has at most {MAX_MEMBERS} full members (corosync's limit)")
        elif members % 2 == 0 or members < 3:
            problems.append(f"{key}: {members}: a cluster needs an odd number of full members, 3 to 15, for quorum")


def _check_services(stack: Stack, problems: list[str]) -> None:
    where = {service: [s for s in stack.roles if service in s.services] for service in Service}
    for service, specs in where.items():
        if len(specs) > 1:
            roles = " and ".join(spec.role for spec in specs)
            problems.append(f"roles.{specs[1].role}.services: {service!s}: is run by {roles}; one role is needed")
    for needed in (Service.GALERA, Service.RABBITMQ, Service.HAPROXY, Service.KEYSTONE):
        if not where[needed]:
            problems.append(f"roles: {needed!s}: no role runs it; every cloud needs it")
    if where[Service.GLANCE] and not where[Service.NFS]:
        problems.append("roles.storage.services: nfs: no role runs it, and glance keeps its images there")
    for service in (Service.GALERA, Service.RABBITMQ):
        for spec in where[service]:
            votes = spec.count + len(where[Service.GARBD] if service is Service.GALERA else ())
            if spec.count < 2 or (votes % 2 == 0 and service is Service.GALERA):
                problems.append(
                    f"roles.{spec.role}.count: {spec.count}: {service!s} needs an odd number of votes, 3 or more"
                    + ("; add garbd to another role for the third" if spec.count == 2 else "")
                )
    for service in sorted(stack.cluster.manages):
        for spec in where[service]:
            if spec.membership is not Membership.FULL:
                problems.append(f"cluster.manages: {service!s}: role {spec.role} is no full member of a cluster")
    if stack.vips.manager is VipManager.KEEPALIVED and not where[Service.KEEPALIVED]:
        problems.append("vips.manager: keepalived: no role lists the service keepalived")
    if stack.vips.manager is VipManager.PACEMAKER and not any(
        s.membership is Membership.FULL for s in where[Service.HAPROXY]
    ):
        problems.append("vips.manager: pacemaker: the role that runs haproxy is no full member of a cluster")
    if stack.cluster.fencing is Fencing.NONE and any(spec.cluster for spec in stack.roles):
        problems.append("cluster.fencing: none: a Pacemaker cluster without fencing loses data; use xvm")


def parse(name: str, raw: object, source: str = "stack") -> Stack:
    """The stack `name` from the mapping under `halab:stack`. Raises StackError with every problem found."""
    problems: list[str] = []
    if not STACK_NAME.fullmatch(name):
        problems.append(f"stack: {name!r}: a name of a-z, 0-9 and -, starting with a letter, at most 30, is needed")
    reader = _Reader(raw, "", problems)
    roles = reader.sub("roles")
    specs = tuple(_role(roles.sub(role), role) for role in Role if role in roles.left)
    roles.done(Role)
    nets, cluster, vips = reader.sub("networks"), reader.sub("cluster"), reader.sub("vips")
    timers, hyper, usual = reader.sub("timers"), reader.sub("hypervisor"), Timers()
    uri_rule = "auto, embedded, system or a libvirt URI like qemu+ssh://root@host/system is needed"
    stack = Stack(
        name=name,
        variant=reader.choice("variant", Variant, None) or Variant.COLLAPSED,
        roles=specs,
        networks=Networks(nets.network("cloud", 22), nets.network("outer", 28)),
        cluster=ClusterOptions(
            frozenset(cluster.choices("manages", Service, ())),
            cluster.choice("fencing", Fencing, Fencing.XVM) or Fencing.XVM,
        ),
        vips=Vips(
            vips.choice("manager", VipManager, VipManager.PACEMAKER) or VipManager.PACEMAKER,
            vips.choice("layout", VipLayout, VipLayout.PER_SERVICE) or VipLayout.PER_SERVICE,
            vips.boolean("spread", False),
        ),
        timers=Timers(
            token=timers.integer("token", usual.token, 1_000, 60_000, "milliseconds"),
            stonith=timers.integer("stonith", usual.stonith, 20, 900, "seconds"),
            recheck=timers.integer("recheck", usual.recheck, 10, 3600, "seconds"),
            remote_monitor=timers.integer("remote_monitor", usual.remote_monitor, 5, 300, "seconds"),
            haproxy_check=timers.integer("haproxy_check", usual.haproxy_check, 1, 60, "seconds"),
            galera_suspect=timers.integer("galera_suspect", usual.galera_suspect, 3, 120, "seconds"),
        ),
        suite=reader.text("suite", "trixie", "trixie (Debian 13) is the one suite there is", "trixie".__eq__)
        or "trixie",
        hypervisor=Hypervisor(
            hyper.text("uri", "auto", uri_rule, lambda v: v in ("auto", "embedded", "system") or "://" in v) or "auto",
            hyper.text("domain_type", "auto", "auto, kvm or qemu is needed", lambda v: v in ("auto", "kvm", "qemu"))
            or "auto",
            hyper.text("disk_cache", "unsafe", f"one of {', '.join(DISK_CACHES)} is needed", DISK_CACHES.__contains__)
            or "unsafe",
        ),
        fork_of=reader.text(
            "cloud",
            None,
            "the name of the stack that this one is a fork of is needed",
            lambda v: bool(STACK_NAME.fullmatch(v)),
        ),
    )
    nets.done(("cloud", "outer"))
    cluster.done(("manages", "fencing"))
    vips.done(("manager", "layout", "spread"))
    timers.done(Timers.__slots__)
    hyper.done(Hypervisor.__slots__)
    reader.done(("variant", "roles", "networks", "cluster", "vips", "timers", "suite", "hypervisor", "cloud"))
    if stack.cloud != stack.name and stack.hypervisor.uri != "embedded":
        problems.append(
            f"cloud: {stack.cloud!r}: its names meet the original's: hypervisor: {{uri: embedded}} is needed"
        )
    if not problems:
        _check_quorum(stack, problems)
        _check_services(stack, problems)
        cloud, outer = stack.networks.cloud, stack.networks.outer
        if cloud and outer and cloud.overlaps(outer):
            problems.append(f"networks.outer: {str(outer)!r}: overlaps networks.cloud {cloud}")
    if problems:
        raise StackError(source, problems)
    return stack


def stack_file(project: Path, name: str) -> Path:
    return project / "stacks" / f"Pulumi.{name}.yaml"


def load(project: Path, name: str) -> Stack:
    """Read and check `stacks/Pulumi.<name>.yaml`. Raises StackError, also for a file that is absent or not YAML."""
    path = stack_file(project, name)
    source = str(path.relative_to(project))
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem.removeprefix("Pulumi.") for p in path.parent.glob("Pulumi.*.yaml")))
        raise StackError("--stack", [f"{name!r}: no file {source}; there are: {known}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StackError(source, ["not YAML: " + " ".join(str(error).split())]) from None
    config = document.get("config") if isinstance(document, Mapping) else None
    if not isinstance(config, Mapping) or CONFIG_KEY not in config:
        raise StackError(source, [f"config: the key {CONFIG_KEY!r} with the stack's description is needed"])
    return parse(name, config[CONFIG_KEY], source)
