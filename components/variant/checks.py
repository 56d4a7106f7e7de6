"""What the keys of a stack must be to each other. Each check names the keys it looked at.

A finding that rests on a key that is itself wrong is left out; all others are told with the keys' own mistakes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass

from components.variant.keys import AGENT_LIMIT, role_keys
from components.variant.model import (
    HOMES,
    MEMBERS,
    TIERS,
    CacheScope,
    Fencing,
    Membership,
    Role,
    RoleSpec,
    Service,
    Stack,
    VipLayout,
    VipManager,
    image,
)

#: Corosync's documented limit of full members (ha-openstack.md, "Overall Design").
MAX_MEMBERS = 16
#: corosync.conf(5): token_coefficient in milliseconds per member above two; consensus is 1.2 token.
_TOKEN_COEFFICIENT, _CONSENSUS = 650, 1.2
#: What every cloud needs.
_NEEDED = (Service.GALERA, Service.RABBITMQ, Service.HAPROXY, Service.KEYSTONE)
#: Service: the services it cannot do without, and why.
_DEPENDS = {
    Service.GLANCE: (Service.NFS, "glance keeps its images there"),
    Service.KEEPALIVED: (Service.HAPROXY, "it tracks HAProxy"),
}
#: MiB that an idle node of a stack that is up has in use, and what each thing on it adds: PSS of its processes, of the
#: default stack on this project's own host; memcached and Galera's buffers as they are configured.
_BASE, _MEMBER = 195, 205
_NEEDS = {
    Service.GALERA: 185,
    Service.RABBITMQ: 80,
    Service.MEMCACHED: 70,
    Service.HAPROXY: 28,
    Service.KEYSTONE: 85,
    Service.GLANCE: 85,
    Service.PLACEMENT: 85,
    Service.TIEBREAKER: 80,
}
#: First gateway's place in the outer network, and the length of the network that `auto` gives (components/topology.py).
OUTER_FIRST, OUTER_LENGTH = 10, 24


@dataclass(frozen=True, slots=True)
class Finding:
    """`key`: the dotted path it is told of; `needs`: those it also rests on, `*` being any role."""

    key: str
    value: object
    rule: str
    needs: tuple[str, ...]


Check = Callable[[Stack], Iterator[Finding]]
_SERVICES = "roles.*.services"


def _running(stack: Stack, service: Service) -> tuple[RoleSpec, ...]:
    return tuple(spec for spec in stack.roles if service in spec.services)


def _key(spec: RoleSpec, name: str) -> str:
    return f"roles.{spec.role}.{name}"


def _first(roles: Set[Role]) -> Role:
    return min(roles, key=tuple(Role).index)


def _named(roles: Set[Role]) -> str:
    """The roles in words; the tiers of one service, which are many and alike, together."""
    tiers = ", or a tier of one service" if roles & set(TIERS) else ""
    return ", ".join(sorted(set(roles) - set(TIERS))) + tiers


def membership(stack: Stack) -> Iterator[Finding]:
    for spec in stack.roles:
        needs = (_key(spec, "cluster"), _key(spec, "membership"))
        if spec.cluster is None and spec.membership is not Membership.NONE:
            rule = "needs the name of a cluster beside it, like cluster: core"
            yield Finding(_key(spec, "membership"), spec.membership, rule, needs)
        if spec.cluster is not None and spec.membership is Membership.NONE:
            yield Finding(_key(spec, "cluster"), spec.cluster, "needs membership: full or remote beside it", needs)
        if spec.membership is Membership.REMOTE and image(spec.role, spec.services) != image(spec.role, ()):
            rule = (
                f"no image has pacemaker_remote and {', '.join(spec.services)}: the controllers' has pacemaker, whose "
                "package excludes it; leave cluster and membership out, or the services to another role"
            )
            yield Finding(_key(spec, "membership"), spec.membership, rule, (*needs, _key(spec, "services")))
        elif spec.role not in MEMBERS[spec.membership]:
            rule = f"the image of role {spec.role} has no packages for it; it is for {_named(MEMBERS[spec.membership])}"
            yield Finding(_key(spec, "membership"), spec.membership, rule, needs)


def quorum(stack: Stack) -> Iterator[Finding]:
    everywhere = ("roles.*.cluster", "roles.*.membership")
    for cluster in sorted({spec.cluster for spec in stack.roles if spec.cluster}):
        mine = [spec for spec in stack.roles if spec.cluster == cluster]
        full = [spec for spec in mine if spec.membership is Membership.FULL]
        members = sum(spec.count for spec in full)
        if not full:
            rule = "this cluster has pacemaker_remote nodes but no full member; give a role membership: full in it"
            yield Finding(_key(mine[0], "cluster"), cluster, rule, everywhere)
            continue
        needs = (*everywhere, *(_key(spec, "count") for spec in full))
        together = "" if len(full) == 1 else f" ({' + '.join(f'{spec.count} {spec.role}' for spec in full)})"
        if members > MAX_MEMBERS:
            rule = f"a cluster has at most {MAX_MEMBERS} full members{together} (corosync's limit): 15, being odd"
        elif members < 3 or members % 2 == 0:
            right = "3" if members < 4 else f"{members - 1} or {members + 1}" if members < MAX_MEMBERS else "15"
            rule = f"a cluster needs an odd number of full members{together}, 3 to 15, for quorum: {right}"
        else:
            continue
        yield Finding(_key(full[0], "count"), members, rule, needs)


def homes(stack: Stack) -> Iterator[Finding]:
    for spec in stack.roles:
        for service in spec.services:
            if spec.role not in HOMES[service]:
                rule = f"the image of role {spec.role} does not have it; it is for {_named(HOMES[service])}"
                yield Finding(_key(spec, "services"), str(service), rule, ())


def services(stack: Stack) -> Iterator[Finding]:
    if not stack.roles:
        rule = "the roles of the cloud are needed; copy those of stacks/Pulumi.collapsed.yaml"
        yield Finding("roles", None, rule, ("roles",))
        return
    for service in Service:
        specs = _running(stack, service)
        if len(specs) > 1:
            roles = " and ".join(spec.role for spec in specs)
            yield Finding(_key(specs[1], "services"), str(service), f"is run by {roles}; one role is needed", ())
        elif service in _NEEDED and not specs:
            rule = f"no role runs it; every cloud needs it: add it to the services of {_first(HOMES[service])}"
            yield Finding("roles", str(service), rule, (_SERVICES,))
    for service, (needed, why) in _DEPENDS.items():
        for spec in _running(stack, service):
            if not _running(stack, needed) and needed not in _NEEDED:
                rule = f"needs {needed}, which no role runs ({why}): give role {_first(HOMES[needed])} that service"
                yield Finding(_key(spec, "services"), str(service), rule, (_SERVICES,))


def numbers(stack: Stack) -> Iterator[Finding]:
    """How many nodes each service needs."""
    for service, breaker in ((Service.GALERA, Service.GARBD), (Service.RABBITMQ, Service.TIEBREAKER)):
        ties = len(_running(stack, breaker))
        for spec in _running(stack, service):
            votes = spec.count + ties
            if spec.count < 2 or votes % 2 == 0:
                rule = f"{service} needs an odd number of votes, 3 or more, and has {votes}"
                if spec.count == 2:
                    rule += f"; a third node, or {breaker} on another role for the third vote"
                elif ties:
                    rule += f"; an even number of nodes, or no {breaker}"
                yield Finding(_key(spec, "count"), spec.count, rule, (_SERVICES,))
        for spec in _running(stack, breaker):
            if service in spec.services:
                rule = f"its vote is worth something only away from {service}: give it to another role"
                yield Finding(_key(spec, "services"), str(breaker), rule, ())
    least = {Service.REDIS: 3, Service.HAPROXY: 2}
    for service, number in least.items():
        for spec in _running(stack, service):
            if spec.count < number:
                rule = f"{service} needs {number} nodes or more, to outlive one"
                yield Finding(_key(spec, "count"), spec.count, rule, (_key(spec, "services"),))
    for spec in _running(stack, Service.NFS):
        if spec.count > 1:
            rule = "nfs is on one node: nothing keeps two of them the same; 1 is needed"
            yield Finding(_key(spec, "count"), spec.count, rule, (_key(spec, "services"),))


def managed(stack: Stack) -> Iterator[Finding]:
    for service in sorted(stack.cluster.manages):
        specs = _running(stack, service)
        if not specs:
            yield Finding("cluster.manages", str(service), "no role runs it; leave it out", (_SERVICES,))
        for spec in specs:
            if spec.membership is not Membership.FULL:
                rule = f"role {spec.role} is no full member of a cluster: give it cluster and membership: full"
                yield Finding("cluster.manages", str(service), rule, (_SERVICES, _key(spec, "membership")))


def cache(stack: Stack) -> Iterator[Finding]:
    if stack.cache is CacheScope.SHARED:
        return
    for spec in stack.roles:
        apis = sorted(set(spec.services) & {Service.KEYSTONE, Service.GLANCE, Service.PLACEMENT})
        if apis and Service.MEMCACHED not in spec.services:
            rule = f"role {spec.role} runs {apis[0]} without a memcached of its own: add memcached there, or use shared"
            yield Finding("cache", str(stack.cache), rule, (_key(spec, "services"),))


def vips(stack: Stack) -> Iterator[Finding]:
    proxies, daemons = _running(stack, Service.HAPROXY), _running(stack, Service.KEEPALIVED)
    manager, needs = str(stack.vips.manager), (_SERVICES, "roles.*.membership")
    if stack.vips.manager is VipManager.KEEPALIVED:
        if not daemons:
            rule = "no role lists the service keepalived: add it where haproxy is"
            yield Finding("vips.manager", manager, rule, needs)
        for spec in proxies:
            if spec.membership is Membership.FULL and spec in daemons:
                rule = f"the cluster of role {spec.role} would hold the same addresses: use pacemaker"
                yield Finding("vips.manager", manager, rule, needs)
    else:
        for spec in daemons:
            rule = "vips.manager is pacemaker, and two cannot hold the same addresses: leave keepalived out"
            yield Finding(_key(spec, "services"), "keepalived", rule, ("vips.manager",))
        if proxies and not any(spec.membership is Membership.FULL for spec in proxies):
            rule = "the role that runs haproxy is no full member of a cluster: make it one, or use keepalived"
            yield Finding("vips.manager", manager, rule, needs)
        elif proxies and Service.HAPROXY not in stack.cluster.manages:
            rule = "haproxy must be among cluster.manages: an address goes where Pacemaker runs it"
            yield Finding("vips.manager", manager, rule, (*needs, "cluster.manages"))
    for spec in daemons:
        if proxies and spec not in proxies:
            rule = f"it tracks the haproxy of its own node, which role {spec.role} does not run: {proxies[0].role} does"
            yield Finding(_key(spec, "services"), "keepalived", rule, (_SERVICES,))
    if stack.vips.spread and stack.vips.layout is VipLayout.SHARED:
        rule = "layout shared has one address: nothing to spread; use layout: per-service, or leave spread out"
        yield Finding("vips.spread", True, rule, ("vips.layout",))


def fencing(stack: Stack) -> Iterator[Finding]:
    clustered = [spec for spec in stack.roles if spec.cluster]
    if not clustered:
        return
    if stack.cluster.fencing is Fencing.NONE:
        rule = "a Pacemaker cluster without fencing loses data; use xvm, or leave the key out"
        yield Finding("cluster.fencing", "none", rule, ("roles.*.cluster",))
    host = stack.hypervisor.uri.partition("://")[2].partition("/")[0]
    if host:
        rule = "the fence device listens on the bridge of the host that runs halab: run it there, with system"
        yield Finding("hypervisor.uri", stack.hypervisor.uri, rule, ("roles.*.cluster",))


def timers(stack: Stack) -> Iterator[Finding]:
    members = max(
        (
            sum(s.count for s in stack.roles if s.cluster == name and s.membership is Membership.FULL)
            for name in {spec.cluster for spec in stack.roles if spec.cluster}
        ),
        default=0,
    )
    token = stack.timers.token + _TOKEN_COEFFICIENT * max(members - 2, 0)
    agreed = -(-token * (1 + _CONSENSUS) // 1000)
    if members and stack.timers.stonith <= max(agreed, AGENT_LIMIT):
        rule = (
            f"must be longer than the {agreed:.0f} s in which {members} members agree on who is lost with "
            f"timers.token {stack.timers.token}: {agreed + 1:.0f} or more, or a shorter token"
        )
        needs = ("timers.token", "roles.*.count", "roles.*.cluster", "roles.*.membership")
        yield Finding("timers.stonith", stack.timers.stonith, rule, needs)


def networks(stack: Stack) -> Iterator[Finding]:
    cloud, outer = stack.networks.cloud, stack.networks.outer
    if cloud and outer and cloud.overlaps(outer):
        yield Finding("networks.outer", str(outer), f"overlaps networks.cloud {cloud}", ("networks.cloud",))
    length = outer.prefixlen if outer else OUTER_LENGTH
    room = (1 << (32 - length)) - 1 - OUTER_FIRST
    for spec in _running(stack, Service.GATEWAY):
        if spec.count > room:
            rule = f"a /{length} has room for {room} gateways, and role {spec.role} has {spec.count}: use a larger one"
            needs = (_key(spec, "count"), _key(spec, "services"))
            yield Finding("networks.outer", str(outer or "auto"), rule, needs)


def memory(stack: Stack) -> Iterator[Finding]:
    for spec in stack.roles:
        least = _BASE + sum(_NEEDS.get(service, 0) for service in spec.services)
        least += _MEMBER if spec.membership is Membership.FULL else 0
        if spec.memory < least:
            what = " and what runs there" if least > _BASE else ""
            usual = next(key.default for key in role_keys(spec.role) if key.name == "memory")
            rule = f"the system{what} have {least} MiB in use when idle: more is needed, by default {usual}"
            yield Finding(_key(spec, "memory"), spec.memory, rule, (_key(spec, "services"), _key(spec, "membership")))


def fork(stack: Stack) -> Iterator[Finding]:
    if stack.cloud != stack.name and stack.hypervisor.uri != "embedded":
        rule = "its names meet the original's: hypervisor: {uri: embedded} is needed"
        yield Finding("cloud", stack.cloud, rule, ("hypervisor.uri",))


CHECKS: tuple[Check, ...] = (
    membership,
    quorum,
    homes,
    services,
    numbers,
    managed,
    cache,
    vips,
    fencing,
    timers,
    networks,
    memory,
    fork,
)
