"""The Galera arbitrator: a vote without data, where the data is on an even number of nodes."""

from __future__ import annotations

from pathlib import Path

from components.parts import ServicePart
from components.recipe import File, Recipe
from components.secrets import CA_PEM, ENDPOINT_PEM
from components.services import galera, openstack
from components.steps import Step, contents, on
from components.topology import Node, Topology
from components.variant import Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
CERTIFICATE = "/etc/halab/garbd.pem"
#: It ends where it reaches no member, and members come and go.
DROP_IN = """[Unit]
StartLimitIntervalSec=0

[Service]
StateDirectory=garbd
Restart=on-failure
RestartSec=10
"""


def config(topology: Topology, node: Node) -> str:
    """/etc/default/garb: the same group, timeouts and TLS as the members."""
    members = " ".join(f"{node.ip}:{galera.REPLICATION_PORT}" for node in topology.running(Service.GALERA))
    options = {
        **galera.provider_options(topology, node),
        "socket.ssl_cert": CERTIFICATE,
        "socket.ssl_key": CERTIFICATE,
    }
    del options["gcache.size"]
    joined = ";".join(f"{key}={value}" for key, value in options.items())
    return (
        f'GALERA_NODES="{members}"\nGALERA_GROUP="{topology.stack.cloud}"\n'
        f'GALERA_OPTIONS="{joined}"\nLOG_FILE=""\nWORK_DIR="/var/lib/garbd"\n'
    )


def steps(topology: Topology) -> tuple[Step, ...]:
    env = {"CA_FILE": openstack.CA_FILE, "CERTIFICATE": CERTIFICATE, "PORT": str(galera.REPLICATION_PORT)}
    node = topology.running(Service.GARBD)[0]
    members = () if topology.managed(Service.GALERA) else topology.running(Service.GALERA)
    started = (on(galera.RECIPE, "start", member.name) for member in members)
    files = (
        File("/etc/default/garb", config(topology, node)),
        File("/etc/systemd/system/garb.service.d/halab.conf", DROP_IN),
    )
    configure = Step(
        name=on(RECIPE, "configure", node.name),
        node=node.name,
        recipe=RECIPE,
        action="configure",
        env=env,
        files=files,
        secrets=frozenset({CA_PEM, ENDPOINT_PEM}),
        after=frozenset({f"machine.secrets@{node.name}"}),
    )
    ready = Step(
        name="garbd.ready",
        node=node.name,
        recipe=RECIPE,
        action="ready",
        env={**env, **contents(files)},
        # An arbitrator joins a component, it cannot make one; and it does not leave one beside another member.
        after=frozenset({configure.name, "database.ready", *started}),
        timeout=600,
    )
    return (configure, ready)


PART = ServicePart(Service.GARBD, steps)
