"""In which order a recovery asks nodes to do what, with nodes that only note it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from components.topology import Topology, derive
from components.variant import load
from halab.errors import HalabError
from halab.recover import Database, Decision, What, carry_out

PROJECT = Path(__file__).resolve().parents[2]


class Nodes:
    """Answers by action; what was asked, in order, with the values of `asked_with` by node and action."""

    def __init__(self, answers: dict[str, str] | None = None, dead: tuple[str, ...] = ()) -> None:
        self.answers, self.dead = answers or {}, dead
        self.asked: list[tuple[str, str]] = []
        self.scripts: list[str] = []

    async def run(self, node: str, script: str) -> str:
        action = script.partition("\n")[0].removeprefix("set -- ")
        self.asked.append((node, action))
        self.scripts.append(script)
        await asyncio.sleep(0)
        if node in self.dead:
            raise HalabError(f"{node}: no answer within 60 s")
        return self.answers.get(action, "")


def topology(stack: str) -> Topology:
    return derive(load(PROJECT, stack))


def galera(stack: str, decision: Decision) -> list[tuple[str, str]]:
    nodes = Nodes()
    asyncio.run(carry_out.galera(topology(stack), nodes.run, decision, lambda line: None))
    return nodes.asked


def rabbitmq(decision: Decision) -> list[tuple[str, str]]:
    nodes = Nodes()
    asyncio.run(carry_out.rabbitmq(nodes.run, decision, lambda line: None))
    return nodes.asked


def test_the_first_makes_the_cluster_while_all_others_and_the_arbitrator_stand_aside() -> None:
    decision = Decision(What.FIRST, "controller-2", ("controller-1",))
    assert galera("endpoint", decision) == [
        ("controller-1", "halt_galera"),
        ("endpoint-1", "halt_arbiter"),
        ("controller-2", "first_galera"),
        ("endpoint-1", "arbitrate"),
        ("controller-1", "join_galera"),
    ]


def test_nobody_is_stopped_where_a_cluster_is_there_to_join() -> None:
    assert galera("keepalived", Decision(What.JOIN, then=("controller-1",))) == [("controller-1", "join_galera")]


def test_nothing_is_done_where_all_are_up() -> None:
    assert galera("endpoint", Decision(What.NOTHING)) == []
    assert rabbitmq(Decision(What.NOTHING)) == []


def test_the_last_queue_to_stop_is_up_before_the_others_start() -> None:
    decision = Decision(What.FIRST, "b", ("a", "c"))
    assert rabbitmq(decision) == [("b", "join_rabbitmq"), ("a", "join_rabbitmq"), ("c", "join_rabbitmq")]


def test_a_queue_kept_aside_is_forgotten_before_it_joins_anew() -> None:
    decision = Decision(What.FORCE, "b", ("a", "c"), aside=("a",))
    assert rabbitmq(decision) == [
        ("a", "aside_rabbitmq"),
        ("b", "force_rabbitmq"),
        ("b", "forget"),
        ("a", "join_rabbitmq"),
        ("c", "join_rabbitmq"),
    ]


def test_every_member_is_asked_for_what_it_runs_and_one_that_does_not_answer_is_known_by_that() -> None:
    nodes = Nodes({"look": "mariadb=activating\nrabbitmq=active\nlistens=yes\n"}, dead=("controller-1",))
    seen = asyncio.run(carry_out.look(topology("endpoint"), nodes.run))
    assert {node: one.problem for node, one in zip(("c1", "c2"), seen.databases, strict=True)} == {
        "c1": "no answer within 60 s",
        "c2": "",
    }
    assert [(one.node, one.listens) for one in seen.queues] == [
        ("controller-1", False),
        ("controller-2", True),
        ("endpoint-1", True),
    ]
    services = {node: script for (node, _), script in zip(nodes.asked, nodes.scripts, strict=True)}
    assert "export SERVICES='galera rabbitmq'\n" in services["controller-2"]
    assert "export SERVICES=rabbitmq\n" in services["endpoint-1"]


def test_only_a_member_that_does_not_know_how_far_it_came_has_its_data_read() -> None:
    nodes = Nodes({"position": "recovered=12\n"})
    members = [
        Database("a", member=True, uuid="x", position=7),
        Database("b", member=True, uuid="x"),
        Database("c", problem="VM is shut off"),
        Database("d"),
    ]
    found = asyncio.run(carry_out.positions(nodes.run, members))
    assert nodes.asked == [("b", "position")]
    assert [one.position for one in found] == [7, 12, None, None]


def test_no_data_is_read_and_nothing_stopped_while_a_member_serves() -> None:
    nodes = Nodes()
    members = [Database("a", component="Primary", member=True), Database("b", member=True)]
    asyncio.run(carry_out.positions(nodes.run, members))
    assert nodes.asked == []
