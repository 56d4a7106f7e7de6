"""Keystone: identity, fernet tokens with the same keys everywhere, one bootstrap for users, roles and catalog."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from components.parts import Resource, ServicePart
from components.recipe import File, Recipe
from components.secrets import FERNET
from components.services import openstack
from components.services.openstack import KEYSTONE, REGION
from components.steps import Step
from components.topology import Node, Topology
from components.variant import CacheScope, Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
ADMIN = "KEYSTONE_ADMIN"
_BOOTSTRAP = Path(__file__).parent / "files" / "keystone_bootstrap.py"


def config(topology: Topology, node: Node) -> str:
    """keystone.conf; nodes that share their caches have the same."""
    servers = openstack.memcached_servers(topology, node)
    cache = {"enabled": "true", "backend": "oslo_cache.memcache_pool", "memcache_servers": servers}
    return openstack.ini(
        {
            "DEFAULT": {
                "use_stderr": "true",
                "insecure_debug": "false",
                "public_endpoint": openstack.endpoint(topology, KEYSTONE),
                "max_token_size": "255",
            },
            "cache": {**cache, "memcache_dead_retry": "60"} if servers else {"enabled": "false"},
            "credential": {"key_repository": "/etc/keystone/credential-keys"},
            "database": openstack.database(topology, KEYSTONE),
            "fernet_tokens": {"key_repository": "/etc/keystone/fernet-keys", "max_active_keys": "3"},
            # A quarter of the default's cost, OWASP's minimum for bcrypt: a login is a second of an emulated CPU.
            "identity": {"password_hash_rounds": "10"},
            "oslo_messaging_notifications": {"driver": "noop"},
            "oslo_middleware": {
                "enable_proxy_headers_parsing": "true",
                "max_request_body_size": str(openstack.BODY_LIMIT),
            },
            "security_compliance": {"lockout_failure_attempts": "10", "lockout_duration": "60"},
            "token": {"provider": "fernet"},
        }
    )


def catalog(topology: Topology) -> str:
    """What the bootstrap registers, as JSON: every API's endpoint, and the user of each but keystone itself."""
    apis = [api for api in openstack.APIS if topology.running(api.service)]
    return json.dumps(
        {
            "region": REGION,
            "admin_secret": ADMIN,
            "services": [
                {
                    "name": api.user,
                    "type": api.catalog_type,
                    "url": openstack.endpoint(topology, api),
                    "user_secret": None if api is KEYSTONE else api.user_secret,
                }
                for api in apis
            ],
        },
        indent=2,
    )


def _files(topology: Topology, node: Node) -> tuple[File, ...]:
    group = KEYSTONE.user
    return (
        File("/etc/keystone/keystone.conf", config(topology, node), "root", group, 0o640),
        File(openstack.uwsgi_path(KEYSTONE), openstack.uwsgi(KEYSTONE, node), "root", group, 0o640),
        openstack.unit(KEYSTONE),
    )


def steps(topology: Topology) -> tuple[Step, ...]:
    nodes = topology.running(Service.KEYSTONE)
    # Not the first: the cluster's own steps are done there, and each has one CPU.
    chosen = nodes[1 % len(nodes)]
    common = openstack.steps(
        topology,
        KEYSTONE,
        RECIPE,
        {node.name: _files(topology, node) for node in nodes},
        configure_after=(),
        # It loads without a database, and loading is most of its start.
        start_after=(),
        ready_after=(f"keystone.bootstrap@{chosen.name}", "database.ready"),
        ready_env={"ADMIN": ADMIN},
        ready_secrets=frozenset({ADMIN}),
        ready_node=chosen,
    )
    keyed = tuple(
        replace(step, secrets=step.secrets | frozenset(FERNET)) if step.action == "configure" else step
        for step in common
    )
    users = {api.user_secret for api in openstack.APIS if api is not KEYSTONE and topology.running(api.service)}
    bootstrap = Step(
        name=f"keystone.bootstrap@{chosen.name}",
        node=chosen.name,
        recipe=RECIPE,
        action="bootstrap",
        env={"OWNER": KEYSTONE.user, "NAMES": " ".join(sorted({ADMIN, *users}))},
        files=(
            File("/usr/local/lib/halab/keystone_bootstrap.py", _BOOTSTRAP.read_text()),
            File("/etc/halab/keystone-catalog.json", catalog(topology)),
        ),
        secrets=frozenset({ADMIN, *users}),
        # It waits for the database itself, and loads keystone in the meantime.
        after=frozenset({f"keystone.configure@{chosen.name}", *({"pacemaker.ready"} if topology.clusters else ())}),
        timeout=1800,
    )
    return (*keyed, bootstrap)


def resource(topology: Topology) -> Resource:
    """After all that the others of the cluster need, as the reference implementation has it (keystone.scenario)."""
    after = (Service.GALERA, Service.RABBITMQ, Service.MEMCACHED, Service.HAPROXY)
    local = topology.stack.cache is CacheScope.LOCAL
    return openstack.resource(KEYSTONE, after, together=(Service.MEMCACHED,) if local else ())


PART = ServicePart(Service.KEYSTONE, steps, resource, lambda topology: openstack.listener(topology, KEYSTONE))
