"""Glance: images as files on the storage node's NFS export, the same directory on every node."""

from __future__ import annotations

from pathlib import Path

from components.parts import Resource, ServicePart
from components.recipe import File, Recipe
from components.services import nfs, openstack
from components.services.openstack import GLANCE, KEYSTONE
from components.steps import Step
from components.topology import Node, Topology
from components.variant import Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
IMAGES = "/var/lib/glance/images"
#: systemd's name for the mount unit of IMAGES.
MOUNT = "var-lib-glance-images.mount"


def config(topology: Topology, node: Node) -> str:
    """glance-api.conf of a node: `worker_self_reference_url` is how the others reach what only it has staged."""
    return openstack.ini(
        {
            "DEFAULT": {
                "use_stderr": "true",
                "enabled_backends": "files:file",
                "worker_self_reference_url": f"http://{node.ip}:{GLANCE.port}",
                "show_multiple_locations": "false",
            },
            "database": openstack.database(topology, GLANCE),
            "files": {"filesystem_store_datadir": IMAGES, "filesystem_store_file_perm": "0640"},
            "glance_store": {"default_backend": "files"},
            "keystone_authtoken": openstack.authtoken(topology, GLANCE, node),
            "oslo_messaging_notifications": {"driver": "noop"},
            "oslo_middleware": {"enable_proxy_headers_parsing": "true"},
            "oslo_policy": {"enforce_new_defaults": "true"},
            "os_glance_staging_store": {"filesystem_store_datadir": "/var/lib/glance/staging"},
            "os_glance_tasks_store": {"filesystem_store_datadir": "/var/lib/glance/tasks"},
            "paste_deploy": {"flavor": "keystone"},
        }
    )


def mount(topology: Topology) -> str:
    """The systemd mount unit. Hard: a write waits for the storage node rather than fail half done."""
    server = topology.running(Service.NFS)[0]
    return f"""[Unit]
Description=Images on {server.name}
Wants=network-online.target
After=network-online.target

[Mount]
What={server.name}:{nfs.EXPORT}
Where={IMAGES}
Type=nfs4
Options=nfsvers=4.2,hard,noatime,nosuid,nodev,noexec,_netdev
TimeoutSec=120

[Install]
WantedBy=remote-fs.target
"""


def _files(topology: Topology, node: Node) -> tuple[File, ...]:
    group = GLANCE.user
    # Bodies of any length, chunked or not, reach the application as they are.
    streaming = {"http-raw-body": "true", "http-chunked-input": "true", "wsgi-manage-chunked-input": "true"}
    return (
        File("/etc/glance/glance-api.conf", config(topology, node), "root", group, 0o640),
        File(openstack.uwsgi_path(GLANCE), openstack.uwsgi(GLANCE, node, streaming), "root", group, 0o640),
        File(f"/etc/systemd/system/{MOUNT}", mount(topology)),
        openstack.unit(GLANCE, IMAGES),
    )


def steps(topology: Topology) -> tuple[Step, ...]:
    nodes = topology.running(Service.GLANCE)
    chosen = nodes[1 % len(nodes)]
    common = openstack.steps(
        topology,
        GLANCE,
        RECIPE,
        {node.name: _files(topology, node) for node in nodes},
        configure_after=("nfs.ready",),
        start_after=(),
        ready_after=(f"glance.schema@{chosen.name}", "keystone.ready"),
        ready_env={"KEYSTONE": openstack.endpoint(topology, KEYSTONE)},
        ready_secrets=frozenset({GLANCE.user_secret}),
        ready_node=chosen,
    )
    schema = Step(
        name=f"glance.schema@{chosen.name}",
        node=chosen.name,
        recipe=RECIPE,
        action="schema",
        env=openstack.schema_env(topology, GLANCE),
        after=frozenset({f"glance.configure@{chosen.name}", "database.ready", "haproxy.ready"}),
        timeout=900,
    )
    return (*common, schema)


def resource(topology: Topology) -> Resource:
    return openstack.resource(GLANCE, after=(Service.KEYSTONE,))


PART = ServicePart(Service.GLANCE, steps, resource, lambda topology: openstack.listener(topology, GLANCE))
