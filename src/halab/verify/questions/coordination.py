"""Redis: the sentinels agree on one master that all others follow."""

from __future__ import annotations

from components.services import redis
from components.variant import Service
from halab.verify.context import Context, script
from halab.verify.report import Finding, all_of

#: What the sentinel on a node says of the master; the password goes over the connection, never into an argument.
_ASK = """password=$(sed -n 's/^REDIS_AUTH=//p' /etc/halab/secrets.env)
exec 5<>"/dev/tcp/$address/$port"
printf 'AUTH %s\\r\\nINFO sentinel\\r\\n' "$password" >&5
line=
while [[ $line != *"name=$name,"* ]] && IFS= read -r -t 10 line <&5; do :; done
printf '%s\\n' "${line%$'\\r'}"
"""


async def sentinels(context: Context) -> list[Finding]:
    """Every sentinel sees the same Redis master, with all replicas and sentinels."""
    topology = context.topology
    nodes = topology.running(Service.REDIS)
    if not nodes:
        return []
    problems, masters = [], set[str]()
    for node in nodes:
        values = {"address": str(node.ip), "port": str(redis.SENTINEL_PORT), "name": topology.stack.cloud}
        fields = dict(
            part.partition("=")[::2]
            for part in (await context.run(node.name, script(_ASK, **values))).strip().split(",")
        )
        masters.add(fields.get("address", "none"))
        seen = (fields.get("status"), fields.get("slaves"), fields.get("sentinels"))
        if seen != ("ok", str(len(nodes) - 1), str(len(nodes))):
            problems.append(f"{node.name}: master, replicas, sentinels are {seen}")
    if len(masters) != 1:
        problems.append(f"{len(masters)} masters: {', '.join(sorted(masters))}")
    evidence = f"master {', '.join(masters)}, {len(nodes) - 1} replicas, seen from {len(nodes)} sentinels"
    return [all_of("redis: one master for all sentinels", problems, evidence)]


QUESTIONS = (sentinels,)
