"""Every key of a stack file: what it means, the rule for its value, and what holds where it is left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.variant.model import (
    MANAGEABLE,
    TIERS,
    CacheScope,
    ClusterOptions,
    Fencing,
    Hypervisor,
    Membership,
    Networks,
    Role,
    Service,
    Timers,
    Variant,
    VipLayout,
    VipManager,
    Vips,
)
from components.variant.values import Choice, Choices, Cidr, Flag, Rule, Text, Whole

STACK_NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
STACK_NAME_RULE = "a name of a-z, 0-9 and -, at most 30, starting with a letter and not ending with -, is needed"
SUITES = ("trixie",)
DISK_CACHES = ("unsafe", "writeback", "none", "directsync")
DOMAIN_TYPES = ("auto", "kvm", "qemu")
#: GiB of the images' file system: a disk of less would cut it off.
LEAST_DISK = 8
#: Seconds that a fence agent itself may take (components/cluster/cib.py): Pacemaker must not give up before it.
AGENT_LIMIT = 20
_CLUSTER_NAME = re.compile(r"[a-z][a-z0-9-]{0,14}")
_URI = re.compile(
    r"auto|embedded|system"
    r"|qemu(\+(unix|ssh|tls|libssh2?))?://([A-Za-z0-9_.-]+@)?[A-Za-z0-9.-]*(:[0-9]{1,5})?/system"
    r"(\?(?!.*(no_verify|known_hosts_verify|no_sanity|command))[A-Za-z0-9_.=&/,:-]+)?"
)


@dataclass(frozen=True, slots=True)
class Key:
    """`default`: what holds where the key is left out; `required`: there is none."""

    name: str
    rule: Rule
    meaning: str
    default: Any = None
    required: bool = False


def _uri_hint(text: str) -> str:
    if re.search(r"://[^/@]*:[^/@]*@", text):
        return "without the password: the login is by key or by agent"
    if "verify" in text:
        return "with the host's key or certificate verified"
    return "the system instance, which can make networks" if "/session" in text else ""


def _defaults(values: object, keys: Mapping[str, tuple[Rule, str]]) -> tuple[Key, ...]:
    return tuple(Key(name, rule, meaning, getattr(values, name)) for name, (rule, meaning) in keys.items())


TOP: tuple[Key, ...] = (
    Key("variant", Choice.of(Variant), "the architecture; a label, what differs is in the other keys", required=True),
    Key("suite", Choice(SUITES), "the guests' Debian release", SUITES[0]),
    Key(
        "cache",
        Choice.of(CacheScope),
        "which memcached an API uses: all of them as one cache, or its own node's alone",
        CacheScope.SHARED,
    ),
    Key(
        "cloud",
        Text(STACK_NAME, "the name of the stack that this one is a fork of"),
        "set by a fork: names and addresses are those of the stack named here",
    ),
)

#: Per role: default count, memory in MiB, disk in GiB, most nodes (the size of its address block).
_ROLES: Mapping[Role, tuple[int, int, int, int]] = {
    Role.CONTROLLER: (3, 3072, 8, 32),
    Role.LOADBALANCER: (3, 768, 8, 32),
    Role.DATABASE: (3, 1536, 8, 32),
    Role.MESSAGING: (3, 1536, 8, 32),
    Role.ENDPOINT: (2, 768, 8, 32),
    Role.STORAGE: (1, 640, 12, 16),
    Role.GATEWAY: (1, 512, 8, 16),
    Role.COMPUTE: (1, 768, 8, 488),
    **dict.fromkeys(TIERS, (3, 1024, 8, 16)),
}


def role_keys(role: Role) -> tuple[Key, ...]:
    """The keys below `roles.<role>`."""
    count, memory, disk, most = _ROLES[role]
    name = "a cluster name of at most 15 of a-z, 0-9 and -, starting with a letter,"
    return (
        Key("count", Whole(1, most, "nodes"), "how many VMs of this role", count),
        Key("memory", Whole(256, 1_048_576, "MiB"), "memory of each", memory),
        Key("vcpus", Whole(1, 64, "virtual CPUs"), "virtual CPUs of each", 1),
        Key("disk", Whole(LEAST_DISK, 4096, "GiB"), "size of each one's disk, of which only what is written is", disk),
        Key("services", Choices(tuple(Service), Service), "what runs on each", ()),
        Key("cluster", Text(_CLUSTER_NAME, name), "the Pacemaker cluster they belong to, together with membership"),
        Key(
            "membership",
            Choice.of(Membership),
            "how they belong to it: full as corosync members, remote by pacemaker_remote",
            Membership.NONE,
        ),
    )


SECTIONS: Mapping[str, tuple[Key, ...]] = {
    "networks": _defaults(
        Networks(),
        {
            "cloud": (Cidr(22, "10.20.0.0/22"), "the network that joins all nodes; it holds every role's addresses"),
            "outer": (Cidr(28, "172.20.1.0/24"), "the outside, where only gateways have a foot"),
        },
    ),
    "cluster": _defaults(
        ClusterOptions(),
        {
            "manages": (
                Choices(MANAGEABLE, Service, frozenset),
                "the services that Pacemaker starts and stops; systemd has the others",
            ),
            "fencing": (Choice.of(Fencing), "how nodes are fenced: fence_xvm, or not at all where no cluster is"),
        },
    ),
    "vips": _defaults(
        Vips(),
        {
            "manager": (Choice.of(VipManager), "who moves the floating addresses"),
            "layout": (Choice.of(VipLayout), "an address for each proxied service, or one for all"),
            "spread": (Flag(), "whether each address prefers a node of its own"),
        },
    ),
    "timers": _defaults(
        Timers(),
        {
            "token": (Whole(1_000, 60_000, "milliseconds"), "silence after which corosync counts a member as lost"),
            "stonith": (Whole(AGENT_LIMIT + 1, 900, "seconds"), "time that fencing has (Pacemaker's stonith-timeout)"),
            "recheck": (Whole(10, 3600, "seconds"), "how often Pacemaker looks for what time alone changes"),
            "remote_monitor": (Whole(5, 300, "seconds"), "how often a pacemaker_remote node is asked"),
            "haproxy_check": (
                Whole(1, 60, "seconds"),
                "how often HAProxy asks each backend, and each second after a miss; three are down",
            ),
            "galera_suspect": (Whole(3, 120, "seconds"), "silence after which Galera suspects a member; twice: lost"),
        },
    ),
    "hypervisor": _defaults(
        Hypervisor(),
        {
            "uri": (
                Text(
                    _URI,
                    "auto, embedded, system or a libvirt URI like qemu+ssh://root@host/system",
                    _uri_hint,
                ),
                "where the VMs run: the system's libvirtd, one of the stack's own, or a named one; auto finds out",
            ),
            "domain_type": (Choice(DOMAIN_TYPES), "hardware virtualization or emulation; auto tries KVM"),
            "disk_cache": (
                Choice(DISK_CACHES),
                "QEMU's cache mode of the disks; unsafe is fast, and forgets only what the host itself loses",
            ),
        },
    ),
}
