"""HAProxy: one proxy per VIP from what the services say of themselves; TLS of the APIs ends here."""

from __future__ import annotations

from pathlib import Path

from components.parts import UNIT_AGENT, Listener, Operation, Resource, ServicePart
from components.recipe import File, Recipe
from components.secrets import ENDPOINT_PEM
from components.services import galera, glance, keystone, openstack, placement
from components.steps import Step, contents, on
from components.topology import Topology
from components.variant import Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
CERTIFICATE = "/etc/haproxy/endpoint.pem"
#: Proxies whose backends enter when they are up, each kind in a file of its own beside haproxy.cfg.
ENTERED = "/etc/haproxy/entered"
#: Where HAProxy answers for itself, to who holds the VIPs on its node.
HEALTH_ADDRESS, HEALTH_PORT = "127.0.0.1", 8404
HEALTH = f"""listen health
    bind {HEALTH_ADDRESS}:{HEALTH_PORT}
    mode http
    http-request return status 200
"""
_FRONTED = (galera.PART, keystone.PART, glance.PART, placement.PART)
_HEAD = """global
    log /dev/log local0 notice
    user haproxy
    group haproxy
    maxconn 2000
    nbthread 1
    stats socket /run/haproxy/admin.sock mode 600 level admin
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets

defaults
    log global
    mode tcp
    option dontlognull
    option redispatch
    retries 3
    timeout connect 10s
    timeout queue 1m
    timeout client 5m
    timeout server 5m
    timeout http-request 1m
    timeout check 10s
"""


def listeners(topology: Topology) -> tuple[Listener, ...]:
    """The listeners of the services that the stack has, in the order of the VIPs' addresses."""
    return tuple(
        part.listener(topology) for part in _FRONTED if part.listener is not None and topology.running(part.service)
    )


def _proxy(topology: Topology, listener: Listener) -> str:
    vip = topology.vip(listener.service)
    inter = topology.stack.timers.haproxy_check
    tls = f" ssl crt {CERTIFICATE} alpn http/1.1" if listener.tls else ""
    lines = [
        f"listen {listener.service}",
        f"    bind {vip.ip}:{listener.port}{tls}",
        f"    mode {listener.mode}",
        "    option httpchk",
        f"    http-check send meth GET uri {listener.check}",
        "    http-check expect status 200",
    ]
    server = f"    default-server port {listener.check_port} inter {inter}s fastinter 1s fall 3"
    if listener.single:
        # A database client may sleep for long between two statements; all clients stay with one writer, and none
        # stays with a writer that is down.
        lines += [
            "    timeout client 90m",
            "    timeout server 90m",
            "    stick-table type ip size 1",
            "    stick on dst",
            f"{server} rise 1 on-marked-down shutdown-sessions",
        ]
    else:
        lines += ["    balance roundrobin"]
        if listener.mode == "http":
            lines += ["    option forwardfor", "    http-request set-header X-Forwarded-Proto https"]
        lines += [f"{server} rise 2"]
    for index, node in enumerate(topology.running(listener.service)):
        backup = " backup" if listener.single and index else ""
        lines.append(f"    server {node.name} {node.ip}:{listener.backend_port} check{backup}")
    return "\n".join(lines) + "\n"


def config(topology: Topology) -> str:
    """haproxy.cfg, the same on every node; every proxy is named after its service."""
    health = [HEALTH] if topology.running(Service.KEEPALIVED) else []
    here = (one for one in listeners(topology) if one not in _apart(topology))
    return "\n".join([_HEAD, *health, *(_proxy(topology, listener) for listener in here)])


def _apart(topology: Topology) -> tuple[Listener, ...]:
    return tuple(one for one in listeners(topology) if one.mode == "http" and openstack.apart(topology, one.service))


def entering(topology: Topology) -> str:
    """The proxies whose backends' nodes come and go without the load balancers'; "" where there are none."""
    return "\n".join(_proxy(topology, listener) for listener in _apart(topology))


def steps(topology: Topology) -> tuple[Step, ...]:
    nodes = topology.running(Service.HAPROXY)
    managed = topology.managed(Service.HAPROXY)
    files: tuple[File, ...] = (
        File("/etc/haproxy/haproxy.cfg", config(topology), "root", "haproxy", 0o640),
        File("/etc/sysctl.d/60-halab-haproxy.conf", "net.ipv4.ip_nonlocal_bind = 1\n"),
    )
    env = {"CERTIFICATE": CERTIFICATE, "ENTERED": ENTERED}
    apart = _apart(topology)
    if apart:
        files += (File("/etc/default/haproxy", f'EXTRAOPTS="-S /run/haproxy-master.sock -f {ENTERED}"\n'),)
    configure = tuple(
        Step(
            name=on(RECIPE, "configure", node.name),
            node=node.name,
            recipe=RECIPE,
            action="configure",
            env=env,
            files=files,
            secrets=frozenset({ENDPOINT_PEM}),
            after=frozenset({f"machine.secrets@{node.name}"}),
        )
        for node in nodes
    )
    start = tuple(
        Step(
            name=on(RECIPE, "start", node.name),
            node=node.name,
            recipe=RECIPE,
            action="start",
            env={**env, **contents(files)},
            after=frozenset({on(RECIPE, "configure", node.name)}),
        )
        for node in nodes
        if not managed
    )
    waits = {"pacemaker.ready"} if managed else {step.name for step in start}
    if topology.running(Service.KEEPALIVED):
        waits.add("keepalived.ready")
    ready = Step(
        name="haproxy.ready",
        node=nodes[0].name,
        recipe=RECIPE,
        action="ready",
        env={
            "FRONTS": " ".join(
                f"{topology.vip(one.service).ip}/{one.port}" for one in listeners(topology) if one not in apart
            )
        },
        after=frozenset(waits),
        timeout=900,
    )
    up = {f"{one.service}.start@{node.name}" for one in apart for node in topology.running(one.service)}
    enter = (
        Step(
            name=on(RECIPE, "enter", node.name),
            node=node.name,
            recipe=RECIPE,
            action="enter",
            env=env,
            files=(File(f"{ENTERED}/apis.cfg", entering(topology), "root", "haproxy", 0o640),),
            after=frozenset({ready.name, *up}),
        )
        for node in nodes
        if apart
    )
    return (*configure, *start, ready, *enter)


def resource(topology: Topology) -> Resource:
    operations = (Operation("start", timeout=300), Operation("stop", timeout=120), Operation("monitor", 20, 60))
    unit = {"unit": "haproxy.service"}
    return Resource(Service.HAPROXY, UNIT_AGENT, operations, unit, meta={"interleave": "true"})


PART = ServicePart(Service.HAPROXY, steps, resource)
