"""RabbitMQ 4: a cluster found through the configuration file, quorum queues, started by an agent of halab's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.parts import Operation, Resource, ServicePart
from components.recipe import File, Recipe
from components.steps import Step, contents, on
from components.topology import Node, Topology
from components.variant import Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
PORT = 5672
DISTRIBUTION_PORT = 25672
#: The one user so far; services that use the queue bring their own.
USER = "halab"
PASSWORD = "RABBITMQ_HALAB"
COOKIE = "RABBITMQ_COOKIE"
AGENT = Path(__file__).parent / "files" / "rabbitmq.ocf"
AGENT_PATH = "/usr/lib/ocf/resource.d/halab/rabbitmq"


def config(topology: Topology, node: Node) -> str:
    """rabbitmq.conf. A virgin start with `default_user` never makes guest."""
    peers = "".join(
        f"cluster_formation.classic_config.nodes.{index} = rabbit@{peer.name}\n"
        for index, peer in enumerate(topology.voters(Service.RABBITMQ), start=1)
    )
    return f"""cluster_formation.peer_discovery_backend = classic_config
{peers}cluster_formation.discovery_retry_limit = 120
cluster_formation.discovery_retry_interval = 2000
cluster_name = {topology.stack.cloud}
cluster_partition_handling = pause_minority
default_queue_type = quorum
default_user = {USER}
default_pass = @{{{PASSWORD}}}
listeners.tcp.1 = {node.ip}:{PORT}
net_ticktime = 60
quorum_queue.continuous_membership_reconciliation.enabled = true
quorum_queue.continuous_membership_reconciliation.target_group_size = {len(topology.voters(Service.RABBITMQ))}
vm_memory_high_watermark.relative = 0.3
"""


def environment(node: Node) -> str:
    """rabbitmq-env.conf: one scheduler that sleeps when idle, since a busy wait starves an emulated guest."""
    address = "{" + ",".join(str(node.ip).split(".")) + "}"
    schedulers = "+S 1:1 +SDcpu 1:1 +SDio 2 +A 1 +sbwt none +sbwtdcpu none +sbwtdio none"
    return f"""NODENAME=rabbit@{node.name}
ERL_EPMD_ADDRESS={node.ip}
SERVER_ADDITIONAL_ERL_ARGS="{schedulers} -kernel inet_dist_use_interface {address}"
"""


def drop_in(managed: bool) -> str:
    """A stop by signal: rabbitmqctl would cost more than the stop. Pacemaker, where it rules, is the one to restart."""
    order = "Before=pacemaker.service\n" if managed else ""
    return f"""[Unit]
StartLimitIntervalSec=0
{order}
[Service]
ExecStop=
KillSignal=SIGTERM
TimeoutStartSec=900
TimeoutStopSec=120
Restart={"no" if managed else "on-failure"}
"""


def epmd(node: Node) -> str:
    """The port mapper on the node's own address and the loopback, before RabbitMQ asks for it."""
    return f"[Socket]\nListenStream=\nListenStream={node.ip}:4369\nListenStream=127.0.0.1:4369\nFreeBind=yes\n"


def _managed(topology: Topology, node: Node) -> bool:
    """Whether Pacemaker starts it there: a tie-breaker's node is in no cluster of RabbitMQ's."""
    return topology.managed(Service.RABBITMQ) and Service.RABBITMQ in node.services


def _files(topology: Topology, node: Node) -> tuple[File, ...]:
    managed = _managed(topology, node)
    return (
        File("/etc/rabbitmq/rabbitmq.conf", config(topology, node), "root", "rabbitmq", 0o640),
        File("/etc/rabbitmq/rabbitmq-env.conf", environment(node), "root", "rabbitmq", 0o640),
        File("/etc/rabbitmq/enabled_plugins", "[].\n", "root", "rabbitmq", 0o640),
        File("/etc/systemd/system/rabbitmq-server.service.d/halab.conf", drop_in(managed)),
        File("/etc/systemd/system/epmd.socket.d/halab.conf", epmd(node)),
        *((File(AGENT_PATH, AGENT.read_text(), mode=0o755),) if managed else ()),
    )


def steps(topology: Topology) -> tuple[Step, ...]:
    """Each member's configuration also names the member before it: one that is rebuilt is forgotten first, since a
    cluster refuses an empty node that it remembers full (join_cluster in rabbitmqctl(8))."""
    nodes = topology.voters(Service.RABBITMQ)
    managed = topology.managed(Service.RABBITMQ)
    before = {node.name: nodes[index - 1].name for index, node in enumerate(nodes) if len(nodes) > 1}
    configure = tuple(
        Step(
            name=on(RECIPE, "configure", node.name),
            node=node.name,
            recipe=RECIPE,
            action="configure",
            env={
                "MEMBER": before.get(node.name, ""),
                "PEERS": " ".join(f"{one.name}/{one.ip}" for one in nodes if one is not node),
                "PORT": str(PORT),
            },
            files=_files(topology, node),
            secrets=frozenset({PASSWORD, COOKIE}),
            after=frozenset({f"machine.secrets@{node.name}"}),
            members=frozenset({before[node.name]} if node.name in before else ()),
        )
        for node in nodes
    )
    start = tuple(
        Step(
            name=on(RECIPE, "start", node.name),
            node=node.name,
            recipe=RECIPE,
            action="start",
            env=contents(_files(topology, node)),
            after=frozenset({on(RECIPE, "configure", node.name)}),
            timeout=900,
        )
        for node in nodes
        if not _managed(topology, node)
    )
    ready = Step(
        name="rabbitmq.ready",
        node=nodes[0].name,
        recipe=RECIPE,
        action="ready",
        env={
            "MEMBERS": " ".join(f"{node.name}/{node.ip}" for node in nodes),
            "PORT": str(PORT),
        },
        after=frozenset({step.name for step in start} | ({"pacemaker.ready"} if managed else set())),
        timeout=1200,
    )
    return (*configure, *start, ready, *_memberships(nodes))


def _memberships(nodes: tuple[Node, ...]) -> Iterable[Step]:
    """`rabbitmq.member@N` answers for the member before N: one that is rebuilt is waited for. It is undone before the
    member stands by, so that it is not the one to forget it: a member that still runs would be started again."""
    for member, witness in zip(nodes, (*nodes[1:], nodes[0]), strict=True):
        yield Step(
            name=on(RECIPE, "member", witness.name),
            node=witness.name,
            recipe=RECIPE,
            action="member",
            env={"MEMBERS": f"{member.name}/{member.ip}", "PORT": str(PORT)},
            after=frozenset({"rabbitmq.ready"}),
            members=frozenset({member.name}),
            timeout=1200,
        )


def resource(topology: Topology) -> Resource:
    """All members start at once (peer discovery needs them together); no failure-timeout: a re-probe costs more."""
    operations = (Operation("start", timeout=900), Operation("stop", timeout=180), Operation("monitor", 20, 60))
    return Resource(
        Service.RABBITMQ,
        "ocf:halab:rabbitmq",
        operations,
        parameters={"port": str(PORT)},
        meta={"interleave": "true", "failure-timeout": "0"},
    )


PART = ServicePart(Service.RABBITMQ, steps, resource)
