"""The gateway: exactly the declared ports from outside, and names inside."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

from components.services import gateway
from components.topology import Node
from components.variant import Service
from halab.verify.context import Context, script
from halab.verify.report import Finding, all_of

_AT_ONCE = 256
_TIMEOUT = 3.0
_LOOKUP = 'busybox nslookup -type=a "$name" "$server" || true\n'


async def _open(address: IPv4Address, port: int, gate: asyncio.Semaphore) -> bool:
    async with gate:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(str(address), port), _TIMEOUT)
        except (TimeoutError, OSError):
            return False
        writer.close()
        return True


async def _listening(context: Context) -> set[int]:
    """Every TCP port on which any node of the stack listens."""
    nodes = tuple(node.name for node in context.topology.nodes)
    answers = await context.everywhere(nodes, "ss -Hltn | awk '{print $4}'\n")
    return {int(line.rpartition(":")[2]) for text in answers.values() for line in text.split() if ":" in line}


def _outside(node: Node) -> IPv4Address:
    return node.nics[1].ip


async def ports(context: Context) -> list[Finding]:
    """From the outer network exactly the declared ports answer."""
    found: list[Finding] = []
    asked = sorted(set(range(1, 1025)) | await _listening(context) | set(gateway.ports(context.topology)))
    gate = asyncio.Semaphore(_AT_ONCE)
    for node in context.topology.running(Service.GATEWAY):
        answers = await asyncio.gather(*(_open(_outside(node), port, gate) for port in asked))
        seen = {port for port, answered in zip(asked, answers, strict=True) if answered}
        wanted = set(gateway.ports(context.topology))
        problems = [f"port {port} answers and is not declared" for port in sorted(seen - wanted)]
        problems += [f"port {port} is declared and does not answer" for port in sorted(wanted - seen)]
        evidence = f"{len(asked)} TCP ports of {_outside(node)} asked from outside; open: {sorted(seen)}"
        found.append(all_of(f"{node.name}: exactly the declared ports are open", problems, evidence))
    return found


async def names(context: Context) -> list[Finding]:
    """The gateway's DNS answers for every VIP."""
    found: list[Finding] = []
    for node in context.topology.running(Service.GATEWAY):
        problems = []
        asker = context.topology.running(Service.KEYSTONE)[0]
        for vip in context.topology.vips:
            name = f"{vip.name}.{context.topology.domain}"
            answer = await context.run(asker.name, script(_LOOKUP, name=name, server=str(node.ip)))
            if str(vip.ip) not in answer:
                problems.append(f"{name} is not {vip.ip}: {' '.join(answer.split())}")
        evidence = f"{len(context.topology.vips)} VIP names asked from {asker.name}"
        found.append(all_of(f"{node.name}: names of the VIPs resolve", problems, evidence))
    return found


QUESTIONS = (ports, names)
