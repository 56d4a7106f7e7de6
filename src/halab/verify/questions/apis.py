"""keystone, glance and placement, through every backend and through their VIPs."""

from __future__ import annotations

import hashlib
import secrets as random
from typing import Any

from components import services
from components.parts import Listener
from components.topology import Node
from components.variant import Service
from halab.verify.context import Context
from halab.verify.report import Finding, all_of

#: The password of keystone's bootstrap user `admin`.
SECRET = "KEYSTONE_ADMIN"


def _listener(context: Context, service: Service) -> Listener:
    make = services.PARTS[service].listener
    if make is None:
        raise KeyError(service)
    return make(context.topology)


def _login(password: str) -> dict[str, Any]:
    domain = {"id": "default"}
    user = {"name": "admin", "domain": domain, "password": password}
    return {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": "admin", "domain": domain}},
        }
    }


async def get_token(context: Context, node: Node | None) -> str:
    """A token through one backend, or through the VIP over TLS. Raises ValueError with what came instead."""
    listener = _listener(context, Service.KEYSTONE)
    body = _login(context.secrets.value(SECRET))
    if node is None:
        vip = context.topology.vip(Service.KEYSTONE)
        name = context.topology.endpoint_host(Service.KEYSTONE)
        answer = await context.http("POST", str(vip.ip), listener.port, "/v3/auth/tokens", body=body, tls_name=name)
    else:
        answer = await context.http("POST", str(node.ip), listener.backend_port, "/v3/auth/tokens", body=body)
    if answer.status != 201:
        raise ValueError(f"{node.name if node else 'the VIP'} answered {answer.status}")
    return answer.headers["x-subject-token"]


async def tokens(context: Context) -> list[Finding]:
    """A token through every backend, each valid at another."""
    nodes = context.topology.running(Service.KEYSTONE)
    port = _listener(context, Service.KEYSTONE).backend_port
    problems: list[str] = []
    for index, node in enumerate(nodes):
        try:
            token = await get_token(context, node)
        except (OSError, ValueError) as error:
            problems.append(f"{node.name}: no token: {error}")
            continue
        other = nodes[(index + 1) % len(nodes)]
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        answer = await context.http("GET", str(other.ip), port, "/v3/auth/tokens?nocatalog", headers=headers)
        if answer.status != 200:
            problems.append(f"a token of {node.name} is answered {answer.status} by {other.name}")
    names = ", ".join(node.name for node in nodes)
    return [all_of("keystone: a token through every backend, valid at another", problems, f"through {names}")]


async def vips(context: Context) -> list[Finding]:
    """Each API answers on its VIP over TLS with the stack's certificate."""
    token = await get_token(context, None)
    found: list[Finding] = []
    paths = {Service.KEYSTONE: "/v3/projects", Service.GLANCE: "/v2/images", Service.PLACEMENT: "/resource_providers"}
    for service, path in paths.items():
        if not context.topology.running(service):
            continue
        vip, port = context.topology.vip(service), _listener(context, service).port
        name = context.topology.endpoint_host(service)
        headers = {"X-Auth-Token": token}
        answer = await context.http("GET", str(vip.ip), port, path, headers=headers, tls_name=name)
        refused = await context.http("GET", str(vip.ip), port, path, tls_name=name)
        ok = answer.status == 200 and refused.status == 401
        evidence = f"https://{name}:{port}{path} at {vip.ip}: {answer.status} with a token, {refused.status} without"
        found.append(Finding(f"{service}: answers on its VIP over TLS", ok, evidence))
    return found


async def image(context: Context) -> list[Finding]:
    """An image uploaded through one glance is read through another."""
    nodes = context.topology.running(Service.GLANCE)
    if not nodes:
        return []
    writer, reader = nodes[0], nodes[-1]
    port = _listener(context, Service.GLANCE).backend_port
    headers = {"X-Auth-Token": await get_token(context, None)}
    content = random.token_bytes(262_144)
    want = hashlib.sha256(content).hexdigest()
    description = {"name": "halab-verify", "container_format": "bare", "disk_format": "raw", "visibility": "private"}
    made = await context.http("POST", str(writer.ip), port, "/v2/images", body=description, headers=headers)
    if made.status != 201:
        return [
            Finding("glance: an image goes in here and comes out there", False, f"{writer.name} answered {made.status}")
        ]
    path = f"/v2/images/{made.json()['id']}"
    try:
        binary = {**headers, "Content-Type": "application/octet-stream"}
        sent = await context.http("PUT", str(writer.ip), port, path + "/file", body=content, headers=binary)
        got = await context.http("GET", str(reader.ip), port, path + "/file", headers=headers)
    finally:
        await context.http("DELETE", str(reader.ip), port, path, headers=headers)
    same = sent.status == 204 and got.status == 200 and hashlib.sha256(got.body).hexdigest() == want
    evidence = (
        f"{len(content)} bytes in through {writer.name} ({sent.status}), out through {reader.name} ({got.status})"
    )
    return [Finding("glance: an image goes in here and comes out there", same, f"{evidence}, SHA-256 {want[:12]}")]


async def units(context: Context) -> list[Finding]:
    """No unit of any node has failed."""
    nodes = tuple(node.name for node in context.topology.nodes)
    answers = await context.everywhere(nodes, "systemctl --failed --plain --no-legend --no-pager\n")
    problems = [
        f"{node}: {line.split()[0]}" for node, text in answers.items() for line in text.splitlines() if line.strip()
    ]
    return [all_of("systemd: no failed unit on any node", problems, f"asked {len(nodes)} nodes")]


QUESTIONS = (tokens, vips, image, units)
