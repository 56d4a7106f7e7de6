"""VIPs that keepalived moves: one owner each, and every other node ready to take them."""

from __future__ import annotations

from components.services import haproxy, keepalived
from components.variant import Service
from halab.verify.context import Context, script
from halab.verify.report import Finding, all_of

_ASK = """ip -o -4 address show | awk '{sub("/.*", "", $4); print "has", $4}'
echo keepalived "$(systemctl is-active keepalived)"
"$check" "$address" "$port" && echo answers
exit 0
"""


async def owners(context: Context) -> list[Finding]:
    """Each VIP that keepalived moves has one owner, and others that can take it."""
    topology = context.topology
    nodes = tuple(node.name for node in topology.running(Service.KEEPALIVED))
    if not nodes:
        return []
    values = {"check": keepalived.CHECK, "address": haproxy.HEALTH_ADDRESS, "port": str(haproxy.HEALTH_PORT)}
    answers = await context.everywhere(nodes, script(_ASK, **values))
    problems, held = [], []
    for vip in topology.vips:
        having = [node for node, text in answers.items() if f"has {vip.ip}" in text.splitlines()]
        held.append(f"{vip.name} on {', '.join(having)}")
        if len(having) != 1:
            problems.append(f"{vip.name} ({vip.ip}) is on {', '.join(having) or 'no node'}")
    for node, text in answers.items():
        lines = text.splitlines()
        if "keepalived active" not in lines:
            problems.append(f"{node}: keepalived does not run")
        if "answers" not in lines:
            problems.append(f"{node}: its HAProxy does not answer, so it can take no address")
    check = "keepalived: every VIP has one owner, every node could take it"
    return [all_of(check, problems, f"{'; '.join(held)}; of {', '.join(nodes)}")]


QUESTIONS = (owners,)
