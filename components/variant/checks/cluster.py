"""Clusters: their members, their fencing and timers, and who holds the floating addresses."""

from __future__ import annotations

from collections.abc import Iterator

from components.variant.checks.finding import SERVICES, Finding, key, named, running
from components.variant.keys import AGENT_LIMIT
from components.variant.model import MEMBERS, Fencing, Membership, Service, Stack, VipLayout, VipManager, image

#: Corosync's documented limit of full members (ha-openstack.md, "Overall Design").
MAX_MEMBERS = 16
#: corosync.conf(5): token_coefficient in milliseconds per member above two; consensus is 1.2 token.
_TOKEN_COEFFICIENT, _CONSENSUS = 650, 1.2


def membership(stack: Stack) -> Iterator[Finding]:
    for spec in stack.roles:
        needs = (key(spec, "cluster"), key(spec, "membership"))
        if spec.cluster is None and spec.membership is not Membership.NONE:
            rule = "needs the name of a cluster beside it, like cluster: core"
            yield Finding(key(spec, "membership"), spec.membership, rule, needs)
        if spec.cluster is not None and spec.membership is Membership.NONE:
            yield Finding(key(spec, "cluster"), spec.cluster, "needs membership: full or remote beside it", needs)
        if spec.membership is Membership.REMOTE and image(spec.role, spec.services) != image(spec.role, ()):
            rule = (
                f"no image has pacemaker_remote and {', '.join(spec.services)}: the controllers' has pacemaker, whose "
                "package excludes it; leave cluster and membership out, or the services to another role"
            )
            yield Finding(key(spec, "membership"), spec.membership, rule, (*needs, key(spec, "services")))
        elif spec.role not in MEMBERS[spec.membership]:
            rule = f"the image of role {spec.role} has no packages for it; it is for {named(MEMBERS[spec.membership])}"
            yield Finding(key(spec, "membership"), spec.membership, rule, needs)


def quorum(stack: Stack) -> Iterator[Finding]:
    everywhere = ("roles.*.cluster", "roles.*.membership")
    for cluster in sorted({spec.cluster for spec in stack.roles if spec.cluster}):
        mine = [spec for spec in stack.roles if spec.cluster == cluster]
        full = [spec for spec in mine if spec.membership is Membership.FULL]
        members = sum(spec.count for spec in full)
        if not full:
            rule = "this cluster has pacemaker_remote nodes but no full member; give a role membership: full in it"
            yield Finding(key(mine[0], "cluster"), cluster, rule, everywhere)
            continue
        needs = (*everywhere, *(key(spec, "count") for spec in full))
        together = "" if len(full) == 1 else f" ({' + '.join(f'{spec.count} {spec.role}' for spec in full)})"
        if members > MAX_MEMBERS:
            rule = f"a cluster has at most {MAX_MEMBERS} full members{together} (corosync's limit): 15, being odd"
        elif members < 3 or members % 2 == 0:
            right = "3" if members < 4 else f"{members - 1} or {members + 1}" if members < MAX_MEMBERS else "15"
            rule = f"a cluster needs an odd number of full members{together}, 3 to 15, for quorum: {right}"
        else:
            continue
        yield Finding(key(full[0], "count"), members, rule, needs)


def vips(stack: Stack) -> Iterator[Finding]:
    proxies, daemons = running(stack, Service.HAPROXY), running(stack, Service.KEEPALIVED)
    manager, needs = str(stack.vips.manager), (SERVICES, "roles.*.membership")
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
            yield Finding(key(spec, "services"), "keepalived", rule, ("vips.manager",))
        if proxies and not any(spec.membership is Membership.FULL for spec in proxies):
            rule = "the role that runs haproxy is no full member of a cluster: make it one, or use keepalived"
            yield Finding("vips.manager", manager, rule, needs)
        elif proxies and Service.HAPROXY not in stack.cluster.manages:
            rule = "haproxy must be among cluster.manages: an address goes where Pacemaker runs it"
            yield Finding("vips.manager", manager, rule, (*needs, "cluster.manages"))
    for spec in daemons:
        if proxies and spec not in proxies:
            rule = f"it tracks the haproxy of its own node, which role {spec.role} does not run: {proxies[0].role} does"
            yield Finding(key(spec, "services"), "keepalived", rule, (SERVICES,))
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
