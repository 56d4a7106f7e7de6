"""Fencing: fence_xvm against the stack's own fence_virtd on the hypervisor; who may fence whom.

Two equal devices stand in every level: a reboot by fence_xvm leaves a VM off that was off already, while with two
devices in a level Pacemaker turns off by both, then on by both.
"""

from __future__ import annotations

from components.topology import Cluster, Node, Topology

KEY, KEY_FILE = "FENCE_KEY", "/etc/cluster/fence_xvm.key"
#: The ids of the fence devices of a cluster.
DEVICES = ("fence-a", "fence-b")


def targets(topology: Topology, cluster: Cluster) -> tuple[Node, ...]:
    """Whom a cluster may fence: its members and remotes; the first cluster also the nodes that are in none."""
    mine = (*cluster.members, *cluster.remotes)
    return (
        (*mine, *(node for node in topology.nodes if node.cluster is None)) if cluster is topology.clusters[0] else mine
    )


def host_map(topology: Topology, cluster: Cluster) -> str:
    """pcmk_host_map (pacemaker-fenced(7)): node name to libvirt domain."""
    return ";".join(f"{node.name}:{node.domain}" for node in targets(topology, cluster))
