"""RabbitMQ: every member runs, and a quorum queue works through each of them."""

from __future__ import annotations

import asyncio
import secrets as random

import amqp  # type: ignore[import-untyped]

from components.topology import Node
from components.variant import Service
from halab.verify.context import Context
from halab.verify.report import Finding, all_of

#: The RabbitMQ user that only the operator and this verification use.
USER = "halab"
SECRET = "RABBITMQ_HALAB"


def _connect(node: Node, password: str) -> amqp.Connection:
    connection = amqp.Connection(
        host=f"{node.ip}:5672", userid=USER, password=password, connect_timeout=20, read_timeout=30, write_timeout=30
    )
    connection.connect()
    return connection


def _round(nodes: tuple[Node, ...], password: str) -> list[str]:
    """Publish through each member and consume through the next one; the problems met."""
    queue, problems = f"verify-{random.token_hex(4)}", list[str]()
    connections = [_connect(node, password) for node in nodes]
    try:
        channels = [connection.channel() for connection in connections]
        channels[0].queue_declare(queue, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        for channel in channels:
            channel.confirm_select()
        for index, node in enumerate(nodes):
            body = random.token_hex(8)
            channels[index].basic_publish_confirm(
                amqp.Message(body, delivery_mode=2), exchange="", routing_key=queue, timeout=30
            )
            reader = (index + 1) % len(nodes)
            message = channels[reader].basic_get(queue, no_ack=True)
            if message is None or message.body != body:
                problems.append(f"published through {node.name}, not read through {nodes[reader].name}")
        channels[0].queue_delete(queue)
    finally:
        for connection in connections:
            connection.close()
    return problems


async def quorum_queue(context: Context) -> list[Finding]:
    """A quorum queue is published and consumed through each member."""
    nodes = context.topology.voters(Service.RABBITMQ)
    problems = await asyncio.to_thread(_round, nodes, context.secrets.value(SECRET))
    names = ", ".join(node.name for node in nodes)
    return [
        all_of(
            "rabbitmq: a quorum queue works through each member", problems, f"published and consumed through {names}"
        )
    ]


async def members(context: Context) -> list[Finding]:
    """All RabbitMQ members run in one cluster without alarms."""
    nodes = context.topology.voters(Service.RABBITMQ)
    expression = "{rabbit_nodes:list_members(), rabbit_nodes:list_running(), rabbit_alarm:get_alarms()}."
    text = await context.run(nodes[0].name, f"rabbitmqctl --quiet eval '{expression}'\n")
    flat = "".join(text.split())
    wanted = {f"rabbit@{node.name}" for node in nodes}
    parts = flat.strip("{}").split("],[")
    problems = [
        f"{name} is not among the {kind}"
        for kind, part in zip(("members", "running members"), parts, strict=False)
        for name in sorted(wanted)
        if name not in part
    ]
    if len(parts) != 3 or parts[2].strip("[]}"):
        problems.append(f"alarms or an unknown answer: {flat}")
    return [all_of("rabbitmq: every member runs in one cluster", problems, ", ".join(sorted(wanted)))]


QUESTIONS = (quorum_queue, members)
