"""Galera: one component, all in sync, and a row that everyone reads."""

from __future__ import annotations

import asyncio
import secrets as random

import pymysql

from components.variant import Service
from halab.verify.context import Context, script
from halab.verify.report import Finding, all_of

_STATUS = (
    "mysql -N -B -e \"SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_state_uuid','wsrep_cluster_size',"
    "'wsrep_local_state_comment','wsrep_cluster_status')\"\n"
)

_MAKE = """mysql <<SQL
CREATE DATABASE $user;
CREATE USER '$user'@'%' IDENTIFIED BY '$password';
GRANT ALL ON $user.* TO '$user'@'%';
SQL
"""
_READ = 'mysql -N -B -e "SET SESSION wsrep_sync_wait=1; SELECT value FROM $user.probe"\n'
_DROP = "mysql -e \"DROP USER IF EXISTS '$user'@'%'; DROP DATABASE IF EXISTS $user\"\n"


async def component(context: Context) -> list[Finding]:
    """Every database node is Synced in one Primary component of full size."""
    nodes = tuple(node.name for node in context.topology.running(Service.GALERA))
    answers = await context.everywhere(nodes, _STATUS)
    status = {node: dict(line.split("\t", 1) for line in text.splitlines()) for node, text in answers.items()}
    uuids = {values.get("wsrep_cluster_state_uuid", "none") for values in status.values()}
    size = len(context.topology.voters(Service.GALERA))
    problems = [] if len(uuids) == 1 else [f"{len(uuids)} cluster UUIDs: {', '.join(sorted(uuids))}"]
    for node, values in status.items():
        seen = (
            values.get("wsrep_cluster_size"),
            values.get("wsrep_local_state_comment"),
            values.get("wsrep_cluster_status"),
        )
        if seen != (str(size), "Synced", "Primary"):
            problems.append(f"{node}: size, state, component are {seen}")
    evidence = f"UUID {', '.join(uuids)}, size {size}"
    return [all_of("galera: one UUID, full size, Synced on every node", problems, evidence)]


def _write(host: str, user: str, password: str, value: str) -> str:
    with (
        pymysql.connect(
            host=host, user=user, password=password, database=user, connect_timeout=20, read_timeout=30, autocommit=True
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("CREATE TABLE probe (value VARCHAR(64) PRIMARY KEY) ENGINE=InnoDB")
        cursor.execute("INSERT INTO probe VALUES (%s)", (value,))
        cursor.execute("SELECT @@hostname")
        row = cursor.fetchone()
        return str(row[0]) if row else "?"


async def row(context: Context) -> list[Finding]:
    """A row written through the VIP is read back on each node."""
    nodes = tuple(node.name for node in context.topology.running(Service.GALERA))
    vip = context.topology.vip(Service.GALERA)
    user, password, value = f"verify_{random.token_hex(4)}", random.token_hex(16), random.token_hex(16)
    await context.run(nodes[0], script(_MAKE, user=user, password=password))
    try:
        writer = await asyncio.to_thread(_write, str(vip.ip), user, password, value)
        answers = await context.everywhere(nodes, script(_READ, user=user))
    finally:
        await context.run(nodes[0], script(_DROP, user=user))
    problems = [f"{node} reads {text.strip()!r}" for node, text in answers.items() if text.strip() != value]
    evidence = f"written on {writer} through {vip.ip}, read on {', '.join(nodes)}"
    return [all_of("galera: a row written through the VIP is on every node", problems, evidence)]


async def one_writer(context: Context) -> list[Finding]:
    """HAProxy sends every client to one database backend."""
    script = "echo 'show stat' | socat - /run/haproxy/admin.sock\n"
    proxies = tuple(node.name for node in context.topology.running(Service.HAPROXY))
    answers = await context.everywhere(proxies, script)
    problems, active = [], set[str]()
    for node, text in answers.items():
        lines = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
        header = next((line[2:].split(",") for line in text.splitlines() if line.startswith("# ")), [])
        servers = [dict(zip(header, line, strict=False)) for line in lines]
        up = [s for s in servers if s.get("pxname") == "galera" and s.get("svname") not in ("FRONTEND", "BACKEND")]
        down = [s["svname"] for s in up if not s["status"].startswith("UP")]
        writers = [s["svname"] for s in up if s.get("act") == "1" and s["status"].startswith("UP")]
        active.update(writers)
        if down:
            problems.append(f"{node}: backend {', '.join(down)} is not UP")
        if len(writers) != 1:
            problems.append(f"{node}: {len(writers)} active backends")
    return [all_of("galera: one active backend behind HAProxy", problems, f"active: {', '.join(sorted(active))}")]


QUESTIONS = (component, row, one_writer)
