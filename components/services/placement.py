"""Placement: inventories and claims of resources."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from components.parts import Resource, ServicePart
from components.recipe import File, Recipe
from components.services import openstack
from components.services.openstack import KEYSTONE, PLACEMENT
from components.steps import Step
from components.topology import Node, Topology
from components.variant import Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
_AWAIT = Path(__file__).parent / "files" / "await_table.sh"
_AWAIT_PATH = "/usr/local/lib/halab/await_table.sh"
_CLIENT = "/etc/placement/halab-client.cnf"


def config(topology: Topology, node: Node) -> str:
    """placement.conf. Its database options have a section of their own."""
    options = openstack.database(topology, PLACEMENT)
    return openstack.ini(
        {
            "DEFAULT": {"use_stderr": "true"},
            "api": {"auth_strategy": "keystone"},
            "keystone_authtoken": openstack.authtoken(topology, PLACEMENT, node),
            "oslo_middleware": {
                "enable_proxy_headers_parsing": "true",
                "max_request_body_size": str(openstack.BODY_LIMIT),
            },
            "placement_database": options,
        }
    )


def client(topology: Topology) -> str:
    """Options of MariaDB's client for placement's own user and database."""
    host, user, secret = topology.endpoint_host(Service.GALERA), PLACEMENT.user, PLACEMENT.database_secret
    return (
        f"[client]\nhost = {host}\nuser = {user}\npassword = @{{{secret}}}\ndatabase = {user}\n"
        f"ssl-ca = {openstack.CA_FILE}\nconnect-timeout = 10\n"
    )


def _files(topology: Topology, node: Node) -> tuple[File, ...]:
    group = PLACEMENT.user
    own = (
        File("/etc/placement/placement.conf", config(topology, node), "root", group, 0o640),
        File(openstack.uwsgi_path(PLACEMENT), openstack.uwsgi(PLACEMENT, node), "root", group, 0o640),
    )
    if not topology.managed(Service.PLACEMENT):
        return (*own, openstack.unit(PLACEMENT))
    # Pacemaker knows when the database is up, not when it lets placement in and has its tables.
    return (
        *own,
        File(_CLIENT, client(topology), "root", group, 0o640),
        File(_AWAIT_PATH, _AWAIT.read_text()),
        openstack.unit(PLACEMENT, before=f"/bin/bash {_AWAIT_PATH} {_CLIENT} alembic_version"),
    )


def steps(topology: Topology) -> tuple[Step, ...]:
    nodes = topology.running(Service.PLACEMENT)
    chosen = nodes[2 % len(nodes)]
    common = openstack.steps(
        topology,
        PLACEMENT,
        RECIPE,
        {node.name: _files(topology, node) for node in nodes},
        configure_after=(),
        # It writes the standard traits while it loads.
        start_after=(f"placement.schema@{chosen.name}",),
        ready_after=(f"placement.schema@{chosen.name}", "keystone.ready"),
        ready_env={"KEYSTONE": openstack.endpoint(topology, KEYSTONE)},
        ready_secrets=frozenset({PLACEMENT.user_secret}),
        ready_node=chosen,
    )
    schema = Step(
        name=f"placement.schema@{chosen.name}",
        node=chosen.name,
        recipe=RECIPE,
        action="schema",
        env=openstack.schema_env(topology, PLACEMENT),
        after=frozenset({f"placement.configure@{chosen.name}", "database.ready", "haproxy.ready"}),
        timeout=900,
    )
    # The application writes its traits and classes while it loads, so it needs its tables before.
    started = (replace(s, after=s.after | {schema.name}) if s.action == "start" else s for s in common)
    return (*started, schema)


def resource(topology: Topology) -> Resource:
    return openstack.resource(PLACEMENT, after=(Service.KEYSTONE,))


PART = ServicePart(Service.PLACEMENT, steps, resource, lambda topology: openstack.listener(topology, PLACEMENT))
