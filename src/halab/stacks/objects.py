"""The libvirt objects that bear a stack's names: which are the stack's, which another's, and the end of the former.

A domain or network is a stack's when its metadata says so (`<halab:owner stack=…>`; libvirt before 9.7 keeps none of a
network: then its bridge, whose name derives from the stack's, tells), a pool when it is on the stack's own folder, a
volume when it is in that pool and its name begins as all of the stack's do.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from lxml import etree

from components.topology import Topology
from components.variant import Role
from halab.embedded.hypervisor.paths import INSIDE_POOL
from halab.embedded.provider import Call, ProviderError
from halab.embedded.providers.libvirt import LibvirtProvider
from halab.embedded.providers.libvirt.host import Host, api, find
from halab.stacks.claims import Taken

_OWNER = "metadata/{urn:halab:owner}owner"
_TYPES = {
    "domain": "libvirt:index/domain:Domain",
    "volume": "libvirt:index/volume:Volume",
    "pool": "libvirt:index/pool:Pool",
    "network": "libvirt:index/network:Network",
}


@dataclass(frozen=True, slots=True)
class Object:
    """`kind`: domain, network, pool or volume. `stranger`: what shows that it is not the stack's, "" when it is."""

    kind: str
    name: str
    id: str
    pool: str = ""
    stranger: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" ({self.stranger})" if self.stranger else "")


def named(topology: Topology, uri: str) -> list[Object]:
    """Everything at that libvirt with a name that the stack's objects have. Raises ProviderError: no answer."""
    with _connected(uri) as host, _words(uri):
        return [*_domains(topology, host), *_networks(topology, host), *_storage(topology, host)]


def owners(uri: str) -> dict[str, list[str]]:
    """The names of all domains there by the name of the cloud that they are of. Raises ProviderError: no answer."""
    found: dict[str, list[str]] = {}
    with _connected(uri) as host, _words(uri):
        for domain in host.connection().listAllDomains():
            owner = etree.fromstring(domain.XMLDesc(0)).find(_OWNER)
            if owner is not None:
                found.setdefault(owner.get("stack", ""), []).append(domain.name())
    return found


def networks(uri: str) -> list[Taken]:
    """What the networks of that libvirt occupy, active or not. Raises ProviderError: no answer."""
    with _connected(uri) as host, _words(uri):
        return [taken for network in host.connection().listAllNetworks() for taken in _occupied(network)]


def remove(uri: str, objects: Iterable[Object]) -> list[str]:
    """Delete those that are the stack's; what could not be deleted, a line each."""
    provider = LibvirtProvider(uri)
    provider.configure({})
    call = Call("urn:pulumi:down::halab::down::down", None, lambda _severity, _line: None, threading.Event())
    problems = []
    own = [one for one in objects if not one.stranger]
    try:
        for one in sorted(own, key=lambda one: list(_TYPES).index(one.kind)):
            try:
                provider.delete(_TYPES[one.kind], call, one.id, {}, {"name": one.name, "pool": one.pool})
            except ProviderError as error:
                problems.append(f"{one.kind} {one.name}: {error}")
    finally:
        provider.close()
    return problems


class _connected:
    """A host that is closed afterwards."""

    def __init__(self, uri: str) -> None:
        self._host = Host(uri)

    def __enter__(self) -> Host:
        return self._host

    def __exit__(self, *_: object) -> None:
        self._host.close()


class _words:
    """A libvirtError as a ProviderError that says where."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None and not isinstance(error, ProviderError) and isinstance(error, api().libvirtError):
            raise ProviderError(f"libvirt at {self._uri}: {error}: run ./halab doctor") from error


def _domains(topology: Topology, host: Host) -> Iterator[Object]:
    pattern = re.compile(rf"{re.escape(topology.prefix)}-({'|'.join(Role)})-[0-9]+")
    for domain in host.connection().listAllDomains():
        if pattern.fullmatch(domain.name()):
            owner = etree.fromstring(domain.XMLDesc(0)).find(_OWNER)
            yield Object("domain", domain.name(), domain.UUIDString(), stranger=_other(topology, owner))


def _networks(topology: Topology, host: Host) -> Iterator[Object]:
    bridges = {network.name: network.bridge for network in topology.networks}
    for network in host.connection().listAllNetworks():
        if (name := network.name()) in bridges:
            tree = etree.fromstring(network.XMLDesc(0))
            owner, bridge = tree.find(_OWNER), _bridge(tree)
            mine = owner is None and bridge == bridges[name]
            yield Object("network", name, network.UUIDString(), stranger="" if mine else _other(topology, owner))


def _storage(topology: Topology, host: Host) -> Iterator[Object]:
    name = topology.prefix
    pool = find(lambda: host.connection().storagePoolLookupByName(name), "VIR_ERR_NO_STORAGE_POOL")
    if pool is None:
        return
    path = etree.fromstring(pool.XMLDesc(0)).findtext("target/path")
    if path != str(INSIDE_POOL / name):
        yield Object("pool", name, pool.UUIDString(), stranger=f"its folder is {path}")
        return
    yield Object("pool", name, pool.UUIDString())
    for volume in host.pool(name).listAllVolumes():
        stranger = "" if volume.name().startswith(f"{name}-") else "put there by somebody"
        yield Object("volume", volume.name(), volume.key(), name, stranger)


def _other(topology: Topology, owner: Any) -> str:
    if owner is None:
        return "without halab's mark"
    cloud = owner.get("stack", "")
    return "" if cloud == topology.stack.cloud else f"of stack {cloud}"


def _bridge(tree: etree._Element) -> str:
    bridge = tree.find("bridge")
    return "" if bridge is None else bridge.get("name", "")


def _occupied(network: Any) -> Iterator[Taken]:
    tree = etree.fromstring(network.XMLDesc(0))
    for ip in tree.findall("ip"):
        address, length = ip.get("address"), ip.get("prefix") or ip.get("netmask") or "24"
        if address and ip.get("family", "ipv4") == "ipv4":
            cidr = IPv4Network(f"{address}/{length}", strict=False)
            yield Taken(cidr, f"{cidr} of libvirt's network {network.name()}", _bridge(tree))
