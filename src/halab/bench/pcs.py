"""A CIB's configuration as the pcs commands that make it (pcs(8), version 0.12), and how two such differ. Pure.

What halab's documents do not hold is refused rather than left out: the comparison would be of two different clusters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from xml.etree import ElementTree as ET

from components.cluster import constraints
from components.topology import Cluster

#: Set by Pacemaker from corosync's; pcs lets nobody set it.
_READ_ONLY = frozenset({"cluster-name"})
Command = tuple[str, ...]


def setup(name: str, cluster: Cluster, token: int) -> Command:
    """The ring as components/cluster/corosync.py has it; `token` in milliseconds."""
    nodes = [word for node in cluster.members for word in (node.name, f"addr={node.ip}")]
    transport = ("transport", "knet", "crypto", "cipher=aes256", "hash=sha256")
    totem = ("totem", f"token={token}", "quorum", "wait_for_all=1")
    return ("cluster", "setup", name, *nodes, *transport, *totem, "--start", "--wait=600")


def commands(configuration: ET.Element) -> tuple[Command, ...]:
    """One command per thing, in the order of the manual's own examples: properties, fencing, resources, constraints."""
    return tuple(_commands(configuration))


def _commands(configuration: ET.Element) -> Iterator[Command]:
    properties = _pairs(configuration.find("crm_config/cluster_property_set"))
    yield ("property", "set", *(f"{name}={value}" for name, value in properties.items() if name not in _READ_ONLY))
    for section, words in (("rsc_defaults", ("resource", "defaults")), ("op_defaults", ("resource", "op", "defaults"))):
        yield (*words, "update", *_equal(_pairs(configuration.find(f"{section}/meta_attributes"))))
    for element in configuration.iterfind("resources/*"):
        yield _resource(element)
    for level in configuration.iterfind("fencing-topology/fencing-level"):
        devices = _of(level, "devices").split(",")
        yield ("stonith", "level", "add", _of(level, "index"), _of(level, "target"), *devices)
    for element in configuration.iterfind("constraints/*"):
        yield _constraint(element)


def _resource(element: ET.Element) -> Command:
    primitive = element if element.tag == "primitive" else element.find("primitive")
    if primitive is None or element.tag not in ("primitive", "clone"):
        raise ValueError(f"{_of(element, 'id')}: {element.tag}: no primitive and no clone of one")
    parameters = _equal(_pairs(primitive.find("instance_attributes")))
    operations = list(_operations(primitive))
    meta = _equal(_pairs(primitive.find("meta_attributes")))
    words = (*parameters, *(("op", *operations) if operations else ()), *(("meta", *meta) if meta else ()))
    if primitive.get("class") == "stonith":
        return ("stonith", "create", _of(primitive, "id"), _of(primitive, "type"), *words)
    agent = ":".join(value for key in ("class", "provider", "type") if (value := primitive.get(key)))
    made = ("resource", "create", "--future", _of(primitive, "id"), agent, *words)
    if element.tag == "primitive":
        return made
    clone = _pairs(element.find("meta_attributes"))
    kind = "promotable" if clone.pop("promotable", "") == "true" else "clone"
    return (*made, kind, _of(element, "id"), *(("meta", *_equal(clone)) if clone else ()))


def _operations(primitive: ET.Element) -> Iterator[str]:
    for op in primitive.iterfind("operations/op"):
        yield _of(op, "name")
        yield from (f"{key}={value}" for key, value in op.attrib.items() if key not in ("id", "name"))


def _constraint(element: ET.Element) -> Command:
    if element.tag == "rsc_colocation":
        return (
            *("constraint", "colocation", "add", _of(element, "rsc"), "with", _of(element, "with-rsc")),
            f"score={_of(element, 'score')}",
        )
    if element.tag == "rsc_order":
        first, then = element.get("first-action", "start"), element.get("then-action", "start")
        ends = (first, _of(element, "first"), "then", then, _of(element, "then"))
        return ("constraint", "order", *ends, f"kind={_of(element, 'kind')}")
    if element.tag == "rsc_location" and element.find("rule") is None and element.get("rsc"):
        where = (_of(element, "id"), _of(element, "rsc"), _of(element, "node"))
        discovery = element.get("resource-discovery")
        options = (f"score={_of(element, 'score')}", *((f"resource-discovery={discovery}",) if discovery else ()))
        return ("constraint", "location", "add", *where, *options)
    raise ValueError(f"{_of(element, 'id')}: a {element.tag} that has no pcs command here")


def _of(element: ET.Element, name: str) -> str:
    return element.attrib[name]


def _pairs(group: ET.Element | None) -> dict[str, str]:
    found = () if group is None else group.iterfind("nvpair")
    return {_of(pair, "name"): _of(pair, "value") for pair in found}


def _equal(values: dict[str, str]) -> Iterable[str]:
    return tuple(f"{name}={value}" for name, value in values.items())


def differences(one: ET.Element, other: ET.Element) -> tuple[str, ...]:
    """What two live configurations do not share of resources, parameters and constraints, a line each."""
    mine, theirs = _inventory(one), _inventory(other)
    return tuple(
        f"{what}: {mine.get(what, 'missing')} here, {theirs.get(what, 'missing')} there"
        for what in sorted(mine.keys() | theirs.keys())
        if mine.get(what) != theirs.get(what)
    )


def _inventory(configuration: ET.Element) -> dict[str, Any]:
    """What decides where a resource runs and what it is; operations (each tool adds its own) and ids are left out."""
    read = constraints.read("", configuration)
    found: dict[str, Any] = {f"resource {resource.id}": resource for resource in read.resources}
    for primitive in configuration.iterfind("resources//primitive"):
        found[f"parameters of {_of(primitive, 'id')}"] = _pairs(primitive.find("instance_attributes"))
    for together in read.colocations:
        found[f"{together.resource} with {together.with_}"] = together.score
    for order in read.orders:
        found[f"{order.first} then {order.then}"] = (order.kind, order.action)
    for location in read.locations:
        found[f"{location.resource} on {location.where}"] = location.score
    for level in read.levels:
        found[f"fencing of {level.target}"] = level.devices
    return found
