"""What an interrupted create of a resource has left at the hypervisor: found by its name, and by its mark."""

from __future__ import annotations

from typing import Any

from lxml import etree

from halab.embedded.provider import Props
from halab.embedded.providers.libvirt.host import Host, find
from halab.embedded.providers.libvirt.pool import target_path
from halab.embedded.providers.libvirt.xml import node, render


def left_id(host: Host, type_: str, inputs: Props) -> str | None:
    """The id of the thing under the inputs' name, None when there is none or when it is another's.

    A domain or network is ours when it carries the metadata that the inputs' stylesheet gives it (a network on a
    libvirt before 9.7, which keeps none: the inputs' bridge), a pool when it is on the inputs' folder, a volume when
    its pool is. Without such a stylesheet the name decides. Raises: ProviderError when the hypervisor does not answer.
    """
    name, connection = inputs["name"], host.connection()
    match type_.rpartition(":")[2]:
        case "Domain":
            domain = find(lambda: connection.lookupByName(name), "VIR_ERR_NO_DOMAIN")
            return _uuid(domain) if domain is not None and _marked("domain", domain, inputs) else None
        case "Network":
            network = find(lambda: connection.networkLookupByName(name), "VIR_ERR_NO_NETWORK")
            return _uuid(network) if network is not None and _marked("network", network, inputs) else None
        case "Pool":
            pool = find(lambda: connection.storagePoolLookupByName(name), "VIR_ERR_NO_STORAGE_POOL")
            if pool is None or etree.fromstring(pool.XMLDesc(0)).findtext("target/path") != target_path(inputs):
                return None
            return _uuid(pool)
        case _:
            return _volume_key(host, inputs.get("pool", "default"), name)


def _marked(kind: str, found: Any, inputs: Props) -> bool:
    """Whether the live object has the marks that its definition from these inputs would have."""
    wanted = _marks(etree.fromstring(render(node(kind, node("name", inputs["name"])), inputs)))
    live = etree.fromstring(found.XMLDesc(0))
    has = _marks(live)
    if kind == "network" and wanted and not has:
        bridge = live.find("bridge")
        return bridge is not None and bridge.get("name") == inputs.get("bridge")
    return wanted <= has


def _marks(tree: etree._Element) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {
        (str(one.tag), frozenset((str(key), str(value)) for key, value in one.attrib.items()))
        for one in tree.iterfind("metadata/*")
    }


def _uuid(found: Any) -> str:
    return str(found.UUIDString())


def _volume_key(host: Host, pool_name: str, name: str) -> str | None:
    pool = find(lambda: host.connection().storagePoolLookupByName(pool_name), "VIR_ERR_NO_STORAGE_POOL")
    if pool is None:
        return None
    volume = find(lambda: host.pool(pool_name).storageVolLookupByName(name), "VIR_ERR_NO_STORAGE_VOL")
    return None if volume is None else str(volume.key())
