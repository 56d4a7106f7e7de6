"""A cluster's whole CIB configuration, rendered from the topology and from what the services say of themselves.

The names of properties and meta attributes are Pacemaker 3.0's (Pacemaker Explained; `pacemaker-schedulerd metadata`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from xml.etree import ElementTree as ET

from components.cluster import fencing
from components.parts import Operation, Resource
from components.topology import Cluster, Node, Topology, Vip
from components.variant import Service

#: Pacemaker 3.0's own.
SCHEMA = "pacemaker-4.0"
#: The pacemaker_remote resource agent's and the VIPs' time to answer on a loaded emulated guest.
_SLOW = 90
#: The interface in the cloud network (components/seed.py names it on every node).
_CLOUD_NIC = "eth0"


def properties(topology: Topology, cluster: Cluster) -> dict[str, str]:
    """crm_config. One emulated CPU always has a load of five and more: the defaults would run one action at a time."""
    timers = topology.stack.timers
    return {
        "cluster-name": f"{topology.stack.cloud}-{cluster.name}",
        "stonith-enabled": "true",
        "stonith-timeout": f"{timers.stonith}s",
        "no-quorum-policy": "stop",
        "dc-deadtime": "5s",
        "cluster-recheck-interval": f"{timers.recheck}s",
        "start-failure-is-fatal": "false",
        "load-threshold": "2000%",
        "node-action-limit": "16",
        "batch-limit": "100",
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


def _clone(parent: ET.Element, cluster: Cluster, resource: Resource) -> None:
    # Without clone-max an instance would wait for ever for each node that does not run the service.
    instances = sum(resource.service in node.services for node in cluster.members)
    clone = ET.SubElement(parent, "clone", id=resource.clone)
    _set(clone, "meta_attributes", f"{resource.clone}-meta", {"clone-max": str(instances), **resource.meta})
    _primitive(
        clone, resource.service, resource.agent, resource.parameters, resource.operations, resource.primitive_meta
    )


def _vip(parent: ET.Element, vip: Vip) -> None:
    operations = [Operation("start", timeout=_SLOW), Operation("stop", timeout=_SLOW), Operation("monitor", 60, _SLOW)]
    parameters = {"ip": str(vip.ip), "cidr_netmask": "32", "nic": _CLOUD_NIC}
    _primitive(parent, vip.resource, "ocf:heartbeat:IPaddr2", parameters, operations)


def _members_only(parent: ET.Element, ids: Iterable[str]) -> None:
    """One constraint for all: a ban per resource and remote node would be hundreds in a cloud of many computes."""
    values = {"id": "members-only", "rsc-pattern": f"^({'|'.join(ids)})$", "resource-discovery": "never"}
    rule = ET.SubElement(
        ET.SubElement(parent, "rsc_location", values), "rule", {"id": "members-only-rule", "score": "-INFINITY"}
    )
    kind = {"id": "members-only-kind", "attribute": "#kind", "operation": "ne", "value": "cluster"}
    ET.SubElement(rule, "expression", kind)


def _clone_constraints(parent: ET.Element, cluster: Cluster, resources: list[Resource]) -> None:
    for resource in resources:
        for node in cluster.members:
            if resource.service not in node.services:
                values = {"rsc": resource.clone, "node": node.name, "score": "-INFINITY", "resource-discovery": "never"}
                ET.SubElement(parent, "rsc_location", {"id": f"{resource.clone}-not-{node.name}", **values})
        for first in resources:
            if first.service in resource.after:
                action = {"first-action": "promote"} if first.meta.get("promotable") == "true" else {}
                values = {"first": first.clone, **action, "then": resource.clone, "kind": resource.ordering}
                if action:
                    values["then-action"] = "start"
                ET.SubElement(parent, "rsc_order", {"id": f"{first.service}-then-{resource.service}", **values})
            if first.service in resource.together:
                values = {"rsc": resource.clone, "with-rsc": first.clone, "score": "INFINITY"}
                ET.SubElement(parent, "rsc_colocation", {"id": f"{resource.service}-with-{first.service}", **values})


def _vip_constraints(parent: ET.Element, cluster: Cluster, vips: list[Vip], haproxy: Resource | None) -> None:
    """A VIP goes with a running HAProxy; without an order, since HAProxy binds to addresses that are not there yet."""
    for vip in vips:
        if haproxy:
            values = {"rsc": vip.resource, "with-rsc": haproxy.clone, "score": "INFINITY"}
            ET.SubElement(parent, "rsc_colocation", {"id": f"{vip.resource}-with-haproxy", **values})
        for node in cluster.members:
            if node.name not in vip.nodes:
                values = {"rsc": vip.resource, "node": node.name, "score": "-INFINITY", "resource-discovery": "never"}
                ET.SubElement(parent, "rsc_location", {"id": f"{vip.resource}-not-{node.name}", **values})
        if vip.prefers in {node.name for node in cluster.members}:
            values = {"rsc": vip.resource, "node": str(vip.prefers), "score": "50"}
            ET.SubElement(parent, "rsc_location", {"id": f"{vip.resource}-prefers", **values})


def _properties(parent: ET.Element, values: Mapping[str, str]) -> None:
    _set(ET.SubElement(parent, "crm_config"), "cluster_property_set", "cib-bootstrap-options", values)


def configuration(topology: Topology, cluster: Cluster, managed: Iterable[Resource]) -> ET.Element:
    """The `configuration` element; `managed`: the resources of every service that Pacemaker manages in the stack."""
    members = {node.name for node in cluster.members}
    resources = [r for r in managed if any(r.service in node.services for node in cluster.members)]
    vips = [vip for vip in topology.vips if set(vip.nodes) <= members]
    root = ET.Element("configuration")
    _properties(root, properties(topology, cluster))
    ET.SubElement(root, "nodes")
    section = ET.SubElement(root, "resources")
    _fence_devices(section, topology, cluster)
    for node in cluster.remotes:
        _remote(section, topology, node)
    for vip in vips:
        _vip(section, vip)
    for resource in resources:
        _clone(section, cluster, resource)
    constraints = ET.SubElement(root, "constraints")
    if cluster.remotes and (vips or resources):
        _members_only(constraints, (*(vip.resource for vip in vips), *(resource.clone for resource in resources)))
    _clone_constraints(constraints, cluster, resources)
    _vip_constraints(constraints, cluster, vips, next((r for r in resources if r.service == Service.HAPROXY), None))
    levels = ET.SubElement(root, "fencing-topology")
    for node in fencing.targets(topology, cluster):
        values = {"id": f"level-{node.name}", "target": node.name, "index": "1", "devices": ",".join(fencing.DEVICES)}
        ET.SubElement(levels, "fencing-level", values)
    defaults = {"resource-stickiness": "100", "migration-threshold": "10", "failure-timeout": "120s"}
    _set(ET.SubElement(root, "rsc_defaults"), "meta_attributes", "rsc-defaults", defaults)
    _set(ET.SubElement(root, "op_defaults"), "meta_attributes", "op-defaults", {"timeout": "120s"})
    return root


def _document(configuration: ET.Element) -> str:
    root = ET.Element("cib", {"validate-with": SCHEMA, "admin_epoch": "0", "epoch": "1", "num_updates": "0"})
    root.append(configuration)
    ET.SubElement(root, "status")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def document(topology: Topology, cluster: Cluster, managed: Iterable[Resource]) -> str:
    """A CIB that crm_verify accepts: the configuration above with empty nodes and status."""
    return _document(configuration(topology, cluster, managed))


def initial(topology: Topology, cluster: Cluster) -> str:
    """What a member's Pacemaker starts with: the properties alone, so that they hold while the cluster forms.

    Its epoch is older than that of any cluster that has formed: a member that starts anew takes the cluster's. Fencing
    comes with the fence devices: without any, each run of the scheduler would be an error.
    """
    root = ET.Element("configuration")
    _properties(root, properties(topology, cluster) | {"stonith-enabled": "false"})
    for section in ("nodes", "resources", "constraints"):
        ET.SubElement(root, section)
    return _document(root)
