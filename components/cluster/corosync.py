"""corosync: the ring of a cluster's full members, encrypted with the stack's key (corosync.conf(5))."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.cluster import cib, fencing
from components.parts import UNIT_AGENT, Resource
from components.recipe import File, Recipe
from components.steps import Step, on
from components.topology import Cluster, Node, Topology
from components.variant import Role

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
_NODE = "    node {{\n        name: {name}\n        nodeid: {nodeid}\n        ring0_addr: {address}\n    }}\n"
#: What a member that never ran has for a CIB.
INITIAL_CIB = "/etc/halab/cib-initial.xml"
UNITS = ("corosync.service", "pacemaker.service")
#: pacemakerd kills a daemon that does not answer for half a minute, which a busy emulated guest easily brings about.
DROP_IN = "[Service]\nCPUWeight=1000\n"
#: When a node goes down, Pacemaker is to stop what it started, before systemd does; nobody else restarts it.
MANAGED_DROP_IN = "[Unit]\nBefore=pacemaker.service\n[Service]\nRestart=no\n"
_AGENT = Path(__file__).parent / "files" / "unit.ocf"
AUTHKEY, PACEMAKER_AUTHKEY = "COROSYNC_AUTHKEY", "PACEMAKER_AUTHKEY"


def nodeid(node: Node) -> int:
    """Stable whatever other nodes come and go."""
    return 1000 * (1 + list(Role).index(node.role)) + node.ordinal


def config(topology: Topology, cluster: Cluster) -> str:
    """corosync.conf, the same on every member. `wait_for_all`: no member fences others before it once saw them."""
    nodes = "".join(_NODE.format(name=node.name, nodeid=nodeid(node), address=node.ip) for node in cluster.members)
    return f"""totem {{
    version: 2
    cluster_name: {topology.stack.cloud}-{cluster.name}
    transport: knet
    crypto_cipher: aes256
    crypto_hash: sha256
    token: {topology.stack.timers.token}
}}
nodelist {{
{nodes}}}
quorum {{
    provider: corosync_votequorum
    wait_for_all: 1
}}
logging {{
    to_logfile: yes
    logfile: /var/log/corosync/corosync.log
    to_syslog: no
    timestamp: on
}}
"""


def _units(node: Node, managed: Iterable[Resource]) -> tuple[str, ...]:
    """The systemd units that Pacemaker starts and stops on the node."""
    return tuple(r.parameters["unit"] for r in managed if r.agent == UNIT_AGENT and r.service in node.services)


def _files(topology: Topology, cluster: Cluster, units: Iterable[str]) -> tuple[File, ...]:
    drop_ins = {**dict.fromkeys(UNITS, DROP_IN), **dict.fromkeys(units, MANAGED_DROP_IN)}
    return (
        File("/etc/corosync/corosync.conf", config(topology, cluster)),
        File(INITIAL_CIB, cib.initial(topology, cluster), "root", "haclient", 0o640),
        File("/usr/lib/ocf/resource.d/halab/unit", _AGENT.read_text(), mode=0o755),
        *(File(f"/etc/systemd/system/{unit}.d/pacemaker.conf", text) for unit, text in drop_ins.items()),
    )


def steps(topology: Topology, managed: Iterable[Resource]) -> tuple[Step, ...]:
    """`corosync.start@N` on every full member: keys and files, corosync, Pacemaker on it.

    `managed`: the resources of the services that Pacemaker manages.
    """
    resources = tuple(managed)
    return tuple(
        Step(
            name=on(RECIPE, "start", node.name),
            node=node.name,
            recipe=RECIPE,
            action="start",
            env={"FENCE_KEY_FILE": fencing.KEY_FILE, "INITIAL_CIB": INITIAL_CIB, "UNITS": " ".join((*UNITS, *units))},
            files=_files(topology, cluster, units),
            secrets=frozenset({AUTHKEY, PACEMAKER_AUTHKEY, fencing.KEY}),
            after=frozenset({f"machine.secrets@{node.name}"}),
        )
        for cluster in topology.clusters
        for node in cluster.members
        for units in [_units(node, resources)]
    )
