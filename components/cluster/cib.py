"""A cluster's whole CIB configuration, rendered from the topology and from what the services say of themselves.

The names of properties and meta attributes are Pacemaker 3.0's (Pacemaker Explained; `pacemaker-schedulerd metadata`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from xml.etree import ElementTree as ET

from components.cluster import fencing
from components.parts import Operation, Resource
from components.topology import Cluster, Node, Topology, Vip

#: The pacemaker_remote resource agent's and the VIPs' time to answer on a loaded emulated guest.
_SLOW = 90


def properties(topology: Topology, cluster: Cluster) -> dict[str, str]:
    """crm_config. One virtual CPU is always busy under emulation: the defaults would run two actions at a time."""
    timers = topology.stack.timers
    return {
        "cluster-name": f"{topology.stack.name}-{cluster.name}",
        "stonith-enabled": "true",
        "stonith-timeout": f"{timers.stonith}s",
        "no-quorum-policy": "stop",
        "dc-deadtime": "5s",
        "cluster-recheck-interval": f"{timers.recheck}s",
        "start-failure-is-fatal": "false",
        "load-threshold": "400%",
        "node-action-limit": "12",
        "batch-limit": "60",
    }


def _set(parent: ET.Element, tag: str, id_: str, values: Mapping[str, str]) -> None:
    if values:
        group = ET.SubElement(parent, tag, id=id_)
        for name, value in values.items():
            ET.SubElement(group, "nvpair", id=f"{id_}-{name}", name=name, value=value)


def _operations(parent: ET.Element, id_: str, operations: Iterable[Operation]) -> None:
    group = ET.SubElement(parent, "operations")
    for op in operations:
        suffix = f"-{op.role.lower()}" if op.role else ""
        values = {
            "id": f"{id_}-{op.name}{suffix}",
            "name": op.name,
            "interval": f"{op.interval}s",
            "timeout": f"{op.timeout}s",
        }
        if op.role:
            values["role"] = op.role
        if op.on_fail:
            values["on-fail"] = op.on_fail
        ET.SubElement(group, "op", values)


def _primitive(
    parent: ET.Element,
    id_: str,
    agent: str,
    parameters: Mapping[str, str],
    operations: Iterable[Operation],
    meta: Mapping[str, str] | None = None,
) -> None:
    class_, _, rest = agent.partition(":")
    provider, _, type_ = rest.rpartition(":")
    values = {"id": id_, "class": class_, **({"provider": provider} if provider else {}), "type": type_}
    element = ET.SubElement(parent, "primitive", values)
    _set(element, "meta_attributes", f"{id_}-meta", meta or {})
    _set(element, "instance_attributes", f"{id_}-params", parameters)
    _operations(element, id_, operations)


def _fence_devices(parent: ET.Element, topology: Topology, cluster: Cluster) -> None:
    for id_ in fencing.DEVICES:
        parameters = {
            "key_file": fencing.KEY_FILE,
            "timeout": "20",
            "pcmk_host_map": fencing.host_map(topology, cluster),
            "pcmk_host_check": "static-list",
            "pcmk_action_limit": "-1",
        }
        _primitive(parent, id_, "stonith:fence_xvm", parameters, [Operation("monitor", 120, 60)])


def _remote(parent: ET.Element, topology: Topology, node: Node) -> None:
    interval = topology.stack.timers.remote_monitor
    operations = [Operation("start", timeout=120), Operation("stop", timeout=60), Operation("monitor", interval, 45)]
    parameters = {"server": str(node.ip), "reconnect_interval": "60s"}
    _primitive(parent, node.name, "ocf:pacemaker:remote", parameters, operations)


def _clone(parent: ET.Element, resource: Resource) -> None:
    clone = ET.SubElement(parent, "clone", id=resource.clone)
    _set(clone, "meta_attributes", f"{resource.clone}-meta", resource.meta)
    _primitive(
        clone, resource.service, resource.agent, resource.parameters, resource.operations, resource.primitive_meta
    )


def _vip(parent: ET.Element, vip: Vip) -> None:
    operations = [Operation("start", timeout=_SLOW), Operation("stop", timeout=_SLOW), Operation("monitor", 10, _SLOW)]
    _primitive(parent, vip.resource, "ocf:heartbeat:IPaddr2", {"ip": str(vip.ip), "cidr_netmask": "32"}, operations)


def _constraints(
    parent: ET.Element, topology: Topology, cluster: Cluster, resources: list[Resource], vips: list[Vip]
) -> None:
    haproxy = next((resource.clone for resource in resources if resource.service == "haproxy"), None)
    members = {node.name: node for node in cluster.members}
    for resource in resources:
        # Clones start on every node of a symmetric cluster; computes and members that do not run one are banned.
        for node in (*cluster.members, *cluster.remotes):
            if resource.service not in node.services:
                ET.SubElement(
                    parent,
                    "rsc_location",
                    {
                        "id": f"{resource.clone}-not-{node.name}",
                        "rsc": resource.clone,
                        "node": node.name,
                        "score": "-INFINITY",
                        "resource-discovery": "never",
                    },
                )
        for first in resources:
            if first.service in resource.after:
                action = {"first-action": "promote"} if first.meta.get("promotable") == "true" else {}
                ET.SubElement(
                    parent,
                    "rsc_order",
                    {
                        "id": f"{first.service}-then-{resource.service}",
                        "first": first.clone,
                        **action,
                        "then": resource.clone,
                        "kind": resource.ordering,
                    },
                )
    for vip in vips:
        for node in cluster.remotes:
            values = {"rsc": vip.resource, "node": node.name, "score": "-INFINITY", "resource-discovery": "never"}
            ET.SubElement(parent, "rsc_location", {"id": f"{vip.resource}-not-{node.name}", **values})
        if haproxy:
            values = {"rsc": vip.resource, "with-rsc": haproxy, "score": "INFINITY"}
            ET.SubElement(parent, "rsc_colocation", {"id": f"{vip.resource}-with-haproxy", **values})
        if vip.prefers in members:
            values = {"rsc": vip.resource, "node": str(vip.prefers), "score": "50"}
            ET.SubElement(parent, "rsc_location", {"id": f"{vip.resource}-prefers", **values})


def configuration(topology: Topology, cluster: Cluster, managed: Iterable[Resource]) -> ET.Element:
    """The `configuration` element; `managed`: the resources of every service that Pacemaker manages in the stack."""
    members = {node.name for node in cluster.members}
    resources = [r for r in managed if any(r.service in node.services for node in cluster.members)]
    vips = [vip for vip in topology.vips if set(vip.nodes) <= members]
    root = ET.Element("configuration")
    _set(
        ET.SubElement(root, "crm_config"),
        "cluster_property_set",
        "cib-bootstrap-options",
        properties(topology, cluster),
    )
    ET.SubElement(root, "nodes")
    section = ET.SubElement(root, "resources")
    _fence_devices(section, topology, cluster)
    for node in cluster.remotes:
        _remote(section, topology, node)
    for vip in vips:
        _vip(section, vip)
    for resource in resources:
        _clone(section, resource)
    _constraints(ET.SubElement(root, "constraints"), topology, cluster, resources, vips)
    levels = ET.SubElement(root, "fencing-topology")
    for node in fencing.targets(topology, cluster):
        values = {"id": f"level-{node.name}", "target": node.name, "index": "1", "devices": ",".join(fencing.DEVICES)}
        ET.SubElement(levels, "fencing-level", values)
    defaults = {"resource-stickiness": "100", "migration-threshold": "10", "failure-timeout": "120s"}
    _set(ET.SubElement(root, "rsc_defaults"), "meta_attributes", "rsc-defaults", defaults)
    _set(ET.SubElement(root, "op_defaults"), "meta_attributes", "op-defaults", {"timeout": "120s"})
    return root


def document(topology: Topology, cluster: Cluster, managed: Iterable[Resource]) -> str:
    """A CIB that crm_verify accepts: the configuration above with empty nodes and status."""
    root = ET.Element("cib", {"validate-with": "pacemaker-4.0", "admin_epoch": "0", "epoch": "1", "num_updates": "0"})
    root.append(configuration(topology, cluster, managed))
    ET.SubElement(root, "status")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
