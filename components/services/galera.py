"""Galera: MariaDB on its node's address, TLS everywhere but in a full state transfer, one resident check on 9200."""

from __future__ import annotations

from pathlib import Path

from components.parts import Listener, Operation, Resource, ServicePart
from components.recipe import File, Recipe
from components.secrets import CA_PEM, ENDPOINT_PEM
from components.services import openstack
from components.steps import Step, contents, on
from components.topology import Node, Topology
from components.variant import Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
PORT = 3306
CHECK_PORT = 9200
REPLICATION_PORT = 4567
#: Certificate, CA and key in one file: MariaDB and Galera each take from it what they need.
CERTIFICATE = "/etc/mysql/halab.pem"
DROP_IN = "/etc/systemd/system/mariadb.service.d/halab.conf"
CONFIG = "/etc/mysql/mariadb.conf.d/99-halab.cnf"
_CHECK = Path(__file__).parent / "files" / "galera_check.py"
AGENT = Path(__file__).parent / "files" / "galera.ocf"
AGENT_PATH = "/usr/lib/ocf/resource.d/halab/galera"
#: Under systemd: a member that finds no primary component tries again, for others may be on their way or be recovered;
#: of what Debian runs after each start only the removal of the start's own files is left.
SUPERVISED = """[Unit]
StartLimitIntervalSec=0

[Service]
ExecStartPost=
ExecStartPost=/bin/rm -f /run/mysqld/wsrep-start-position /run/mysqld/wsrep-new-cluster
Restart=on-failure
RestartSec=10
TimeoutStartSec=900
TimeoutStopSec=300
"""
CHECK_UNIT = """[Unit]
Description=State of this node's Galera over HTTP
After=network.target
StartLimitIntervalSec=0

[Service]
User=clustercheck
Group=nogroup
ExecStart=/usr/bin/python3 -I /usr/local/lib/halab/galera_check.py {address} {port} /var/lib/mysql
Restart=always
RestartSec=2
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
"""


def _address(topology: Topology) -> str:
    """Names, not addresses: the agent compares them with Pacemaker's node names."""
    return "gcomm://" + ",".join(node.name for node in topology.running(Service.GALERA))


def seed(topology: Topology) -> Node:
    """The member that makes a new cluster: of equal ones the agent promotes the last of the address first."""
    return topology.running(Service.GALERA)[-1]


def provider_options(topology: Topology, node: Node) -> dict[str, str]:
    """wsrep_provider_options: `evs.*` may not be shorter than what a busy emulated guest needs to answer."""
    suspect = topology.stack.timers.galera_suspect
    return {
        "gcache.size": "32M",
        "gmcast.listen_addr": f"ssl://{node.ip}:{REPLICATION_PORT}",
        "evs.suspect_timeout": f"PT{suspect}S",
        "evs.inactive_timeout": f"PT{2 * suspect}S",
        "evs.install_timeout": f"PT{2 * suspect}S",
        "socket.ssl": "yes",
        "socket.ssl_cert": CERTIFICATE,
        "socket.ssl_key": CERTIFICATE,
        "socket.ssl_ca": openstack.CA_FILE,
    }


def config(topology: Topology, node: Node) -> str:
    """The file of MariaDB's configuration directory that sorts last."""
    options = ";".join(f"{key}={value}" for key, value in provider_options(topology, node).items())
    return f"""[client]
# over the socket only; a handshake costs an emulated guest seconds, the agent's monitor included
skip-ssl

[mariadbd]
bind-address = {node.ip}
skip-name-resolve
connect_timeout = 60
max_connections = 600
default_storage_engine = InnoDB
binlog_format = ROW
performance_schema = OFF
innodb_autoinc_lock_mode = 2
innodb_flush_log_at_trx_commit = 1
innodb_buffer_pool_size = 96M
innodb_log_file_size = 16M
ssl_cert = {CERTIFICATE}
ssl_key = {CERTIFICATE}
ssl_ca = {openstack.CA_FILE}
wsrep_on = ON
wsrep_provider = /usr/lib/galera/libgalera_smm.so
wsrep_cluster_name = {topology.stack.cloud}
wsrep_cluster_address = {_address(topology)}
wsrep_node_name = {node.name}
wsrep_node_address = {node.ip}
wsrep_sst_method = rsync
wsrep_slave_threads = 1
wsrep_provider_options = "{options}"
"""


def _turns(topology: Topology, first: Node) -> list[tuple[Node, ...]]:
    """Who starts together, and with other files restarts: the first alone, then as many as leave the others a majority.

    Members that leave at once, even in order, may leave the last ones without a primary component.
    """
    others = [node for node in topology.running(Service.GALERA) if node is not first]
    size = max(1, (len(topology.voters(Service.GALERA)) - 1) // 2)
    return [(first,), *(tuple(others[index : index + size]) for index in range(0, len(others), size))]


def databases(topology: Topology) -> tuple[openstack.Api, ...]:
    """The APIs that keep a schema of their own, and a user for it alone."""
    return tuple(api for api in openstack.APIS if topology.running(api.service))


def _files(topology: Topology, node: Node) -> tuple[File, ...]:
    return (
        File(CONFIG, config(topology, node), "root", "mysql", 0o640),
        File("/usr/local/lib/halab/galera_check.py", _CHECK.read_text()),
        File("/etc/systemd/system/galera-check.service", CHECK_UNIT.format(address=node.ip, port=CHECK_PORT)),
        File(AGENT_PATH, AGENT.read_text(), mode=0o755)
        if topology.managed(Service.GALERA)
        else File(DROP_IN, SUPERVISED),
    )


def steps(topology: Topology) -> tuple[Step, ...]:
    nodes = topology.running(Service.GALERA)
    managed = topology.managed(Service.GALERA)
    first = seed(topology)
    members = " ".join(str(node.ip) for node in nodes)
    users = databases(topology)
    env = {
        "CA_FILE": openstack.CA_FILE,
        "CERTIFICATE": CERTIFICATE,
        "CONFIG": CONFIG,
        "ADDRESS": str(first.ip),
        "MEMBERS": members,
        "CHECK_PORT": str(CHECK_PORT),
    }
    configure = tuple(
        Step(
            name=on(RECIPE, "configure", node.name),
            node=node.name,
            recipe=RECIPE,
            action="configure",
            env=env,
            files=_files(topology, node),
            secrets=frozenset({CA_PEM, ENDPOINT_PEM}),
            after=frozenset({f"machine.secrets@{node.name}"}),
        )
        for node in nodes
    )
    start: tuple[Step, ...] = ()
    if not managed:
        turns = _turns(topology, first)
        before = {node.name: turns[index - 1] for index, turn in enumerate(turns) if index for node in turn}
        start = tuple(
            Step(
                name=on(RECIPE, "start", node.name),
                node=node.name,
                recipe=RECIPE,
                action="start",
                env={
                    **env,
                    **contents(_files(topology, node)),
                    "ADDRESS": str(node.ip),
                    "BOOTSTRAP": "yes" if node is first else "",
                },
                after=frozenset(
                    {
                        on(RECIPE, "configure", node.name),
                        *(on(RECIPE, "start", one.name) for one in before.get(node.name, ())),
                    }
                ),
                timeout=1200,
            )
            for node in nodes
        )
    running = {"pacemaker.ready"} if managed else {on(RECIPE, "start", first.name)}
    schemas = Step(
        name="database.ready",
        node=first.name,
        recipe=RECIPE,
        action="databases",
        env={**env, "DATABASES": " ".join(f"{api.user}:{api.database_secret}" for api in users)},
        secrets=frozenset(api.database_secret for api in users),
        after=frozenset(running),
        timeout=1200,
    )
    ready = Step(
        name="galera.ready",
        node=first.name,
        recipe=RECIPE,
        action="ready",
        env={**env, "SIZE": str(len(topology.voters(Service.GALERA)))},
        after=frozenset(
            {
                schemas.name,
                *(step.name for step in start),
                *({"garbd.ready"} if topology.running(Service.GARBD) else ()),
            }
        ),
        timeout=1200,
    )
    # `galera.member@N` answers for the member before N: one that is rebuilt is waited for.
    memberships = (
        Step(
            name=on(RECIPE, "member", witness.name),
            node=witness.name,
            recipe=RECIPE,
            action="member",
            env={**env, "ADDRESS": str(member.ip)},
            after=frozenset({ready.name}),
            members=frozenset({member.name}),
            timeout=1200,
        )
        for member, witness in zip(nodes, (*nodes[1:], nodes[0]), strict=True)
    )
    return (*configure, *start, schemas, ready, *memberships)


def resource(topology: Topology) -> Resource:
    """ocf:heartbeat:galera behind an agent of halab's own, promoted on every member; one that joins restarts nobody.

    No role-less monitor: it upsets the scheduler beside the two.

    A monitor costs an emulated guest seconds of CPU; HAProxy's check finds a database that is down long before it.
    """
    return Resource(
        service=Service.GALERA,
        agent="ocf:halab:galera",
        operations=(
            Operation("start", timeout=300),
            Operation("stop", timeout=180),
            Operation("promote", timeout=900),
            Operation("demote", timeout=300),
            Operation("monitor", 60, 90, role="Promoted"),
            Operation("monitor", 75, 90, role="Unpromoted"),
        ),
        parameters={
            "members_in": CONFIG,
            "check_user": "root",
            "log": "/var/log/mysql/error.log",
        },
        meta={
            "promotable": "true",
            "promoted-max": str(len(topology.running(Service.GALERA))),
            "interleave": "true",
            "notify": "false",
        },
    )


def listener(topology: Topology) -> Listener:
    return Listener(Service.GALERA, PORT, PORT, "tcp", False, "/", CHECK_PORT, single=True)


PART = ServicePart(Service.GALERA, steps, resource, listener)
