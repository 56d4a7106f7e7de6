"""Room: addresses, memory, and a fork beside its original."""

from __future__ import annotations

from collections.abc import Iterator

from components.variant.checks.finding import Finding, key, running
from components.variant.keys import role_keys
from components.variant.model import Membership, Service, Stack

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


def networks(stack: Stack) -> Iterator[Finding]:
    cloud, outer = stack.networks.cloud, stack.networks.outer
    if cloud and outer and cloud.overlaps(outer):
        yield Finding("networks.outer", str(outer), f"overlaps networks.cloud {cloud}", ("networks.cloud",))
    length = outer.prefixlen if outer else OUTER_LENGTH
    room = (1 << (32 - length)) - 1 - OUTER_FIRST
    for spec in running(stack, Service.GATEWAY):
        if spec.count > room:
            rule = f"a /{length} has room for {room} gateways, and role {spec.role} has {spec.count}: use a larger one"
            needs = (key(spec, "count"), key(spec, "services"))
            yield Finding("networks.outer", str(outer or "auto"), rule, needs)


def memory(stack: Stack) -> Iterator[Finding]:
    for spec in stack.roles:
        least = _BASE + sum(_NEEDS.get(service, 0) for service in spec.services)
        least += _MEMBER if spec.membership is Membership.FULL else 0
        if spec.memory < least:
            what = " and what runs there" if least > _BASE else ""
            usual = next(one.default for one in role_keys(spec.role) if one.name == "memory")
            rule = f"the system{what} have {least} MiB in use when idle: more is needed, by default {usual}"
            yield Finding(key(spec, "memory"), spec.memory, rule, (key(spec, "services"), key(spec, "membership")))


def fork(stack: Stack) -> Iterator[Finding]:
    if stack.cloud != stack.name and stack.hypervisor.uri != "embedded":
        rule = "its names meet the original's: hypervisor: {uri: embedded} is needed"
        yield Finding("cloud", stack.cloud, rule, ("hypervisor.uri",))
