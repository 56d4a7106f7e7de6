"""A Pacemaker cluster's state, read from `crm_mon --output-as=xml` (crm_mon(8))."""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

#: What to run on a cluster member; parse() reads its output.
COMMAND = "crm_mon -1 --inactive --output-as=xml"


@dataclass(frozen=True, slots=True)
class NodeState:
    """`type` is member or remote; `health` is what crm_mon would print: online, OFFLINE, standby, pending, UNCLEAN…"""

    name: str
    type: str
    health: str


@dataclass(frozen=True, slots=True)
class ResourceState:
    """One instance of a primitive: `clone` is its clone's id or None, `nodes` where it is active."""

    id: str
    clone: str | None
    agent: str
    role: str
    nodes: tuple[str, ...]
    failed: bool
    managed: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure that a node remembers; `operation` names its resource too, `reason` the agent's or the exit status."""

    node: str
    operation: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What crm_mon says of a cluster; `dc` is the node that decides, "" without one."""

    quorum: bool
    dc: str
    nodes: tuple[NodeState, ...]
    resources: tuple[ResourceState, ...]
    failures: tuple[Failure, ...]
    maintenance: bool

    def where(self, id_: str, role: str | None = None) -> tuple[str, ...]:
        """Sorted names of nodes on which the primitive or clone `id_` is active (in `role`, if given)."""
        return tuple(
            sorted(
                node
                for resource in self.resources
                if id_ in (resource.id, resource.clone) and role in (None, resource.role)
                for node in resource.nodes
            )
        )


def _health(node: etree._Element) -> str:
    for flag, word in (
        ("unclean", "UNCLEAN"),
        ("pending", "pending"),
        ("standby", "standby"),
        ("maintenance", "maintenance"),
    ):
        if node.get(flag) == "true":
            return word
    return "online" if node.get("online") == "true" else "OFFLINE"


def _resource(element: etree._Element, clone: str | None) -> ResourceState:
    active = element.get("active") == "true"
    nodes = tuple(name for node in element.iterfind("node") if (name := node.get("name"))) if active else ()
    return ResourceState(
        id=(element.get("id") or "").partition(":")[0],
        clone=clone,
        agent=element.get("resource_agent") or "",
        role=element.get("role") or "",
        nodes=nodes,
        failed=element.get("failed") == "true" or element.get("blocked") == "true",
        managed=element.get("managed") == "true",
    )


def parse(xml: str) -> ClusterState:
    """Raises ValueError where the text is not crm_mon's XML (a stopped cluster says so in plain text)."""
    try:
        root = etree.fromstring(xml.encode())
    except etree.XMLSyntaxError:
        raise ValueError(f"not crm_mon's XML: {xml.strip()[:200] or 'empty'}") from None
    dc = root.find("summary/current_dc")
    options = root.find("summary/cluster_options")
    resources = [_resource(element, None) for element in root.iterfind("resources/resource")]
    for clone in root.iterfind("resources/clone"):
        resources += [_resource(element, clone.get("id")) for element in clone.iterfind("resource")]
    return ClusterState(
        quorum=dc is not None and dc.get("with_quorum") == "true",
        dc=(dc.get("name") or "") if dc is not None else "",
        nodes=tuple(
            NodeState(node.get("name") or "", node.get("type") or "", _health(node))
            for node in root.iterfind("nodes/node")
        ),
        resources=tuple(resources),
        failures=tuple(
            Failure(
                f.get("node") or "",
                f.get("op_key") or f.get("id") or "",
                f.get("exitreason") or f.get("exitstatus") or "",
            )
            for f in root.iterfind("failures/failure")
        ),
        maintenance=options is not None and options.get("maintenance-mode") == "true",
    )
