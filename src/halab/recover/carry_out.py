"""Looks at the members of a stack's database and queue clusters, and carries out what was decided about them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from components.topology import Topology
from components.variant import Service
from halab.errors import HalabError
from halab.recover import RECIPE, Database, Decision, Queue, What, database, facts, queue

#: run(node, bash script) -> stdout; raises OSError or HalabError where the node cannot be reached or the script fails.
Run = Callable[[str, str], Awaitable[str]]
Say = Callable[[str], None]
#: Seconds that a node has for answering; under emulation on a busy host a client of the database takes ten.
_LOOK_LIMIT = 120.0
_ERRORS = (HalabError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the members said of themselves, one that did not answer included, in the order of the topology."""

    databases: tuple[Database, ...]
    queues: tuple[Queue, ...]


def script(action: str, **values: str) -> str:
    """What `bash -s` is given for one action of the recipe."""
    return f"set -- {action}\n{RECIPE.script(f'recover.{action}', values, ())}"


async def look(topology: Topology, run: Run) -> Seen:
    """What every member says of itself; one whose node does not answer has a problem instead."""
    databases, queues = topology.running(Service.GALERA), topology.voters(Service.RABBITMQ)
    nodes = list(dict.fromkeys((*databases, *queues)))

    async def one(name: str, services: str) -> tuple[dict[str, str], str]:
        try:
            answer = await asyncio.wait_for(run(name, script("look", SERVICES=services)), _LOOK_LIMIT)
        except _ERRORS as error:
            return {}, str(error).partition(": ")[2] or str(error) or f"no answer within {_LOOK_LIMIT:.0f} s"
        return facts(answer), ""

    asked = (
        one(node.name, " ".join(["galera"] * (node in databases) + ["rabbitmq"] * (node in queues))) for node in nodes
    )
    said = dict(zip(nodes, await asyncio.gather(*asked), strict=True))
    return Seen(
        tuple(database(node.name, *said[node]) for node in databases),
        tuple(queue(node.name, *said[node]) for node in queues),
    )


async def positions(run: Run, found: Iterable[Database]) -> tuple[Database, ...]:
    """The members with the positions of those that do not know theirs without looking into their data.

    Such a member's MariaDB is stopped for that; it is one that waits for others, not one that serves.
    """
    members = tuple(found)
    if any(one.component == "Primary" for one in members):
        return members

    async def one(member: Database) -> Database:
        if member.problem or not member.member or member.position is not None:
            return member
        answer = facts(await run(member.node, script("position")))
        return replace(member, position=database(member.node, answer).position)

    return tuple(await asyncio.gather(*(one(member) for member in members)))


async def galera(topology: Topology, run: Run, decision: Decision, say: Say) -> None:
    """Bring the members up as decided, and the arbitrator back. Raises HalabError where one does not come."""
    await _each(run, decision.aside, "aside_galera", say)
    arbiters = [node.name for node in topology.running(Service.GARBD)] if decision.what is not What.NOTHING else []
    if decision.what is What.FIRST:
        # An arbitrator keeps the component that it was left alone in, and members that wait have perhaps joined that.
        await _each(run, decision.then, "halt_galera", say)
        await _each(run, arbiters, "halt_arbiter", say)
        await _each(run, [decision.first], "first_galera", say)
    await _each(run, arbiters, "arbitrate", say)
    await _each(run, decision.then, "join_galera", say)


async def rabbitmq(run: Run, decision: Decision, say: Say) -> None:
    """Bring the members up in the decided order. Raises HalabError where one does not come."""
    await _each(run, decision.aside, "aside_rabbitmq", say)
    if decision.what in (What.FIRST, What.FORCE):
        action = "force_rabbitmq" if decision.what is What.FORCE else "join_rabbitmq"
        await _each(run, [decision.first], action, say)
    for node in decision.aside:
        say(await run(decision.first, script("forget", MEMBER=node)))
    await _each(run, decision.then, "join_rabbitmq", say)


async def _each(run: Run, nodes: Iterable[str], action: str, say: Say) -> None:
    async def one(node: str) -> None:
        if said := (await run(node, script(action))).strip():
            say(said)

    await asyncio.gather(*(one(node) for node in nodes))
