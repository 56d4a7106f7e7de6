"""What a cluster's configuration says of its resources and of what binds them, read from the CIB that is pushed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from components.cluster import cib
from components.parts import Resource
from components.topology import Topology


@dataclass(frozen=True, slots=True)
class Managed:
    """A resource by the id that constraints name it with: a clone's own. `instances` is the clone's limit, else 1."""

    id: str
    agent: str
    instances: int
    clone: bool
    promotable: bool

    @property
    def fences(self) -> bool:
        return self.agent.startswith("stonith:")

    @property
    def kind(self) -> str:
        if self.fences:
            return "fence device"
        return "promotable clone" if self.promotable else "clone" if self.clone else "primitive"


@dataclass(frozen=True, slots=True)
class Order:
    first: str
    then: str
    kind: str
    action: str


@dataclass(frozen=True, slots=True)
class Colocation:
    resource: str
    with_: str
    score: str


@dataclass(frozen=True, slots=True)
class Location:
    """`where`: a node's name, or a rule in words; `resource` may be a pattern (rsc-pattern) of several ids."""

    resource: str
    where: str
    score: str
    rule: bool


@dataclass(frozen=True, slots=True)
class Level:
    """Fencing: the devices that are all used to fence a node."""

    target: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Constraints:
    """One cluster's, each kind in the order of the document."""

    cluster: str
    resources: tuple[Managed, ...]
    orders: tuple[Order, ...]
    colocations: tuple[Colocation, ...]
    locations: tuple[Location, ...]
    levels: tuple[Level, ...]


def of(topology: Topology, managed: Iterable[Resource]) -> tuple[Constraints, ...]:
    """Of every Pacemaker cluster of the stack; empty where it has none."""
    resources = tuple(managed)
    return tuple(read(cluster.name, cib.configuration(topology, cluster, resources)) for cluster in topology.clusters)


def read(cluster: str, configuration: ET.Element) -> Constraints:
    """From a CIB's `configuration` element, live or rendered."""
    return Constraints(
        cluster=cluster,
        resources=tuple(_managed(element) for element in configuration.iterfind("resources/*")),
        orders=tuple(
            Order(_of(e, "first"), _of(e, "then"), _of(e, "kind", "Mandatory"), _of(e, "first-action", "start"))
            for e in configuration.iterfind("constraints/rsc_order")
        ),
        colocations=tuple(
            Colocation(_of(e, "rsc"), _of(e, "with-rsc"), _of(e, "score", "INFINITY"))
            for e in configuration.iterfind("constraints/rsc_colocation")
        ),
        locations=tuple(_location(e) for e in configuration.iterfind("constraints/rsc_location")),
        levels=tuple(
            Level(_of(e, "target"), tuple(_of(e, "devices").split(",")))
            for e in configuration.iterfind("fencing-topology/fencing-level")
        ),
    )


def _of(element: ET.Element, name: str, default: str = "") -> str:
    return element.get(name) or default


def _managed(element: ET.Element) -> Managed:
    primitive = element if element.tag == "primitive" else element.find("primitive")
    values = {} if primitive is None else primitive.attrib
    meta = {_of(pair, "name"): _of(pair, "value") for pair in element.iterfind("meta_attributes/nvpair")}
    return Managed(
        id=_of(element, "id"),
        agent=":".join(values[key] for key in ("class", "provider", "type") if key in values),
        instances=int(meta.get("clone-max", "1")) if element.tag == "clone" else 1,
        clone=element.tag == "clone",
        promotable=meta.get("promotable") == "true",
    )


def _location(element: ET.Element) -> Location:
    resource = _of(element, "rsc") or _of(element, "rsc-pattern")
    rule = element.find("rule")
    if rule is None:
        return Location(resource, _of(element, "node"), _of(element, "score"), rule=False)
    words = (
        f"{_of(e, 'attribute')} {_of(e, 'operation')} {_of(e, 'value')}".strip() for e in rule.iterfind("expression")
    )
    joined = f" {_of(rule, 'boolean-op', 'and')} ".join(words)
    return Location(resource, f"where {joined}", _of(rule, "score"), rule=True)
