"""The storage node's NFS server: version 4 only, one export, for the nodes that need it and no others."""

from __future__ import annotations

from pathlib import Path

from components.parts import ServicePart
from components.recipe import File, Recipe
from components.steps import Step, on
from components.topology import Topology
from components.variant import Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
EXPORT = "/srv/halab/glance"
#: Debian's reserved uid and gid of the user glance (base-passwd; Debian bug 884178), the same in every image.
GLANCE_ID = 64_062


def exports(topology: Topology) -> str:
    """exports(5): root on a client is nobody here; glance's own uid owns the directory."""
    clients = topology.running(Service.GLANCE)
    options = "rw,sync,no_subtree_check,root_squash,sec=sys"
    return "".join(f"{EXPORT} {node.ip}({options})\n" for node in clients)


def server(topology: Topology) -> str:
    """nfs.conf: version 4 over TCP on the node's address; a short grace, since a client cannot open files during it."""
    node = topology.running(Service.NFS)[0]
    return f"""[nfsd]
host={node.ip}
threads=4
vers3=n
vers4=y
vers4.0=n
vers4.1=y
vers4.2=y
udp=n
tcp=y
lease-time=20
grace-time=20

[mountd]
manage-gids=n
"""


def steps(topology: Topology) -> tuple[Step, ...]:
    nodes = topology.running(Service.NFS)
    first = nodes[0]
    files = (
        File("/etc/exports", exports(topology)),
        File("/etc/nfs.conf.d/halab.conf", server(topology)),
    )
    configure = Step(
        name=on(RECIPE, "configure", first.name),
        node=first.name,
        recipe=RECIPE,
        action="configure",
        env={"EXPORT": EXPORT, "OWNER": str(GLANCE_ID)},
        files=files,
        after=frozenset({f"machine.secrets@{first.name}"}),
    )
    ready = Step(
        name="nfs.ready",
        node=first.name,
        recipe=RECIPE,
        action="ready",
        env={"EXPORT": EXPORT, "ADDRESS": str(first.ip), "CLIENTS": str(len(topology.running(Service.GLANCE)))},
        after=frozenset({configure.name}),
    )
    return (configure, ready)


PART = ServicePart(Service.NFS, steps)
