"""What a check says, and what the checks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass

from components.variant.model import TIERS, Role, RoleSpec, Service, Stack

#: Of any role.
SERVICES = "roles.*.services"


@dataclass(frozen=True, slots=True)
class Finding:
    """`key`: the dotted path it is told of; `needs`: those it also rests on, `*` being any role."""

    key: str
    value: object
    rule: str
    needs: tuple[str, ...]


Check = Callable[[Stack], Iterator[Finding]]


def running(stack: Stack, service: Service) -> tuple[RoleSpec, ...]:
    return tuple(spec for spec in stack.roles if service in spec.services)


def key(spec: RoleSpec, name: str) -> str:
    return f"roles.{spec.role}.{name}"


def first(roles: Set[Role]) -> Role:
    return min(roles, key=tuple(Role).index)


def named(roles: Set[Role]) -> str:
    """The roles in words; the tiers of one service, which are many and alike, together."""
    tiers = ", or a tier of one service" if roles & set(TIERS) else ""
    return ", ".join(sorted(set(roles) - set(TIERS))) + tiers
