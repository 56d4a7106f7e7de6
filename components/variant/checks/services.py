"""Services: which role can run them, how many nodes they need, and what they need of each other."""

from __future__ import annotations

from collections.abc import Iterator

from components.variant.checks.finding import SERVICES, Finding, first, key, named, running
from components.variant.model import HOMES, CacheScope, Membership, Service, Stack

#: What every cloud needs.
_NEEDED = (Service.GALERA, Service.RABBITMQ, Service.HAPROXY, Service.KEYSTONE)
#: Service: the services it cannot do without, and why.
_DEPENDS = {Service.GLANCE: (Service.NFS, "glance keeps its images there")}


def homes(stack: Stack) -> Iterator[Finding]:
    for spec in stack.roles:
        for service in spec.services:
            if spec.role not in HOMES[service]:
                rule = f"the image of role {spec.role} does not have it; it is for {named(HOMES[service])}"
                yield Finding(key(spec, "services"), str(service), rule, ())


def services(stack: Stack) -> Iterator[Finding]:
    if not stack.roles:
        rule = "the roles of the cloud are needed; copy those of stacks/Pulumi.collapsed.yaml"
        yield Finding("roles", None, rule, ("roles",))
        return
    for service in Service:
        specs = running(stack, service)
        if len(specs) > 1:
            roles = " and ".join(spec.role for spec in specs)
            yield Finding(key(specs[1], "services"), str(service), f"is run by {roles}; one role is needed", ())
        elif service in _NEEDED and not specs:
            rule = f"no role runs it; every cloud needs it: add it to the services of {first(HOMES[service])}"
            yield Finding("roles", str(service), rule, (SERVICES,))
    for service, (needed, why) in _DEPENDS.items():
        for spec in running(stack, service):
            if not running(stack, needed):
                rule = f"needs {needed}, which no role runs ({why}): give role {first(HOMES[needed])} that service"
                yield Finding(key(spec, "services"), str(service), rule, (SERVICES,))


def numbers(stack: Stack) -> Iterator[Finding]:
    """How many nodes each service needs."""
    for service, breaker in ((Service.GALERA, Service.GARBD), (Service.RABBITMQ, Service.TIEBREAKER)):
        ties = len(running(stack, breaker))
        for spec in running(stack, service):
            votes = spec.count + ties
            if spec.count < 2 or votes % 2 == 0:
                rule = f"{service} needs an odd number of votes, 3 or more, and has {votes}"
                if spec.count == 2:
                    rule += f"; a third node, or {breaker} on another role for the third vote"
                elif ties:
                    rule += f"; an even number of nodes, or no {breaker}"
                yield Finding(key(spec, "count"), spec.count, rule, (SERVICES,))
        for spec in running(stack, breaker):
            if service in spec.services:
                rule = f"its vote is worth something only away from {service}: give it to another role"
                yield Finding(key(spec, "services"), str(breaker), rule, ())
    least = {Service.REDIS: 3, Service.HAPROXY: 2}
    for service, number in least.items():
        for spec in running(stack, service):
            if spec.count < number:
                rule = f"{service} needs {number} nodes or more, to outlive one"
                yield Finding(key(spec, "count"), spec.count, rule, (key(spec, "services"),))
    for spec in running(stack, Service.NFS):
        if spec.count > 1:
            rule = "nfs is on one node: nothing keeps two of them the same; 1 is needed"
            yield Finding(key(spec, "count"), spec.count, rule, (key(spec, "services"),))


def managed(stack: Stack) -> Iterator[Finding]:
    for service in sorted(stack.cluster.manages):
        specs = running(stack, service)
        if not specs:
            yield Finding("cluster.manages", str(service), "no role runs it; leave it out", (SERVICES,))
        for spec in specs:
            if spec.membership is not Membership.FULL:
                rule = f"role {spec.role} is no full member of a cluster: give it cluster and membership: full"
                yield Finding("cluster.manages", str(service), rule, (SERVICES, key(spec, "membership")))


def cache(stack: Stack) -> Iterator[Finding]:
    if stack.cache is CacheScope.SHARED:
        return
    for spec in stack.roles:
        apis = sorted(set(spec.services) & {Service.KEYSTONE, Service.GLANCE, Service.PLACEMENT})
        if apis and Service.MEMCACHED not in spec.services:
            rule = f"role {spec.role} runs {apis[0]} without a memcached of its own: add memcached there, or use shared"
            yield Finding("cache", str(stack.cache), rule, (key(spec, "services"),))
