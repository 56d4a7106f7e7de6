"""libvirt:index/volume:Volume: empty, uploaded from a file, or an overlay on another volume."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar
from urllib.parse import unquote, urlsplit

from lxml import etree

from halab.embedded.provider import Call, Created, Props, ProviderError
from halab.embedded.providers.libvirt.host import Host, api, find, gone
from halab.embedded.providers.libvirt.pool import XSLT
from halab.embedded.providers.libvirt.upload import upload
from halab.embedded.providers.libvirt.xml import node, render
from halab.embedded.providers.schema import Field, Fields, stated

_QCOW2 = b"QFI\xfb"

T = TypeVar("T")


class Volume:
    fields: ClassVar[Fields] = {
        "name": Field(str, required=True),
        "pool": Field(str, default="default"),
        "source": Field(str),
        "size": Field(int, computed=True),
        "format": Field(str, computed=True),
        "baseVolumeId": Field(str),
        "baseVolumeName": Field(str),
        "baseVolumePool": Field(str),
        "xml": XSLT,
    }
    computed: ClassVar[tuple[str, ...]] = ("format", "size")

    def create(self, host: Host, call: Call, inputs: Props) -> Created:
        name, pool = inputs["name"], host.pool(inputs["pool"])
        if "source" in inputs:
            volume = _uploaded(host, call, pool, inputs)
        else:
            base = _base(host, pool, inputs)
            if base is not None and inputs.get("size", base.capacity) < base.capacity:
                raise ProviderError(f"Volume {name}: size {inputs['size']} is below its base's {base.capacity} bytes")
            tree = volume_xml(
                name,
                capacity=inputs.get("size", base.capacity if base else 1),
                format_=inputs.get("format", "qcow2"),
                base=base,
            )
            volume = new_volume(host, call, pool, name, render(tree, inputs))
        return Created(volume.key(), stated(inputs) | _live(volume))

    def read(self, host: Host, call: Call, id_: str, outputs: Props) -> Props | None:
        pool = outputs.get("pool", "default")
        if find(lambda: host.connection().storagePoolLookupByName(pool), "VIR_ERR_NO_STORAGE_POOL") is None:
            return None
        host.pool(pool)
        volume = host.volume(id_)
        live = None if volume is None else present(lambda: _live(volume))
        return None if live is None else outputs | live

    def update(self, host: Host, call: Call, id_: str, old: Props, inputs: Props) -> Props:
        return old | stated(inputs)

    def delete(self, host: Host, call: Call, id_: str, outputs: Props) -> None:
        delete_volume(host, call, id_, outputs.get("pool", "default"))


class Base:
    """The volume under an overlay: path, format and virtual size in bytes."""

    def __init__(self, volume: Any) -> None:
        tree = etree.fromstring(volume.XMLDesc(0))
        self.path: str = volume.path()
        self.format = format_of(tree)
        self.capacity: int = volume.info()[1]


def volume_xml(
    name: str, *, capacity: int, format_: str, base: Base | None = None, mode: str = "644"
) -> etree._Element:
    """<volume>; capacity in bytes."""
    tree = node(
        "volume",
        node("name", name),
        node("capacity", str(capacity), unit="bytes"),
        node("target", node("format", type=format_), node("permissions", node("mode", mode))),
    )
    if base is not None:
        backing = node("backingStore", node("path", base.path))
        if base.format:
            backing.append(node("format", type=base.format))
        tree.append(backing)
    return tree


def format_of(tree: etree._Element) -> str:
    """The target format in a volume's XML, or ""."""
    found = tree.find("target/format")
    return "" if found is None else found.get("type", "")


def new_volume(host: Host, call: Call, pool: Any, name: str, text: str) -> Any:
    """Create a volume from its XML. Raises ProviderError when the pool has one of that name already."""
    libvirt = api()
    with host.pool_lock(pool.name()):
        for attempt in range(2):
            try:
                return pool.createXML(text, 0)
            except libvirt.libvirtError as error:
                if not gone(error, "VIR_ERR_STORAGE_VOL_EXIST"):
                    raise
                if attempt == 0:
                    host.refresh(pool, call)  # the daemon may remember a file that is gone
    raise ProviderError(
        f"Volume {name}: storage pool {pool.name()} has a volume of that name that is not this stack's: "
        f"rename one, or remove it with virsh vol-delete --pool {pool.name()} {name}"
    )


def delete_volume(host: Host, call: Call, key: str, pool_name: str) -> None:
    """Delete the volume with that key; one that is already gone counts as deleted."""
    libvirt = api()
    pool = find(lambda: host.connection().storagePoolLookupByName(pool_name), "VIR_ERR_NO_STORAGE_POOL")
    if pool is None:
        return
    pool = host.pool(pool_name)
    with host.pool_lock(pool_name):
        volume = host.volume(key)
        if volume is None:
            return
        try:
            volume.delete(0)
        except libvirt.libvirtError as error:
            if not gone(error, "VIR_ERR_NO_STORAGE_VOL"):
                raise


def present(look: Callable[[], T]) -> T | None:
    """What a look into a volume gives, None when its file is gone: the daemon lists it until it is asked for more."""
    return find(look, "VIR_ERR_NO_STORAGE_VOL")


def _uploaded(host: Host, call: Call, pool: Any, inputs: Props) -> Any:
    name, path = inputs["name"], _local_path(inputs)
    for other in ("size", "baseVolumeId", "baseVolumeName"):
        if other in inputs:
            raise ProviderError(f"Volume {name}: source and {other} exclude each other")
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ProviderError(f"Volume {name}: source {path}: {error.strerror}") from error
    try:
        qcow2 = os.pread(source, 4, 0) == _QCOW2
        wanted = inputs.get("format", "qcow2" if qcow2 else "raw")
        if qcow2 != (wanted == "qcow2"):
            raise ProviderError(f"Volume {name}: format {wanted}, but {path} is {'' if qcow2 else 'not '}qcow2")
        size = os.fstat(source).st_size
        # Created raw, whatever the file holds: its bytes are then zeros, and a hole in the file needs no writing.
        tree = volume_xml(name, capacity=size, format_="raw")
        tree.insert(2, node("allocation", "0", unit="bytes"))
        volume = new_volume(host, call, pool, name, render(tree, inputs))
        upload(host, call, pool, volume, source)
    finally:
        os.close(source)
    host.refresh(pool, call)
    return volume


def _local_path(inputs: Props) -> str:
    url = urlsplit(inputs["source"])
    if url.scheme not in {"", "file"}:
        raise ProviderError(f"Volume {inputs['name']}: source {inputs['source']}: the embedded engine takes files only")
    return unquote(url.path) if url.scheme else str(inputs["source"])


def _base(host: Host, pool: Any, inputs: Props) -> Base | None:
    name = inputs["name"]
    if "baseVolumeId" in inputs:
        if "baseVolumeName" in inputs:
            raise ProviderError(f"Volume {name}: baseVolumeId and baseVolumeName exclude each other")
        volume = host.volume(inputs["baseVolumeId"])
    elif "baseVolumeName" in inputs:
        base_pool = host.pool(inputs["baseVolumePool"]) if "baseVolumePool" in inputs else pool
        volume = find(lambda: base_pool.storageVolLookupByName(inputs["baseVolumeName"]), "VIR_ERR_NO_STORAGE_VOL")
    else:
        return None
    if volume is None:
        base = inputs.get("baseVolumeId") or inputs["baseVolumeName"]
        raise ProviderError(f"Volume {name}: its base volume {base} is not at {host.uri}")
    return Base(volume)


def _live(volume: Any) -> Props:
    return {
        "name": volume.name(),
        "pool": volume.storagePoolLookupByVolume().name(),
        "size": volume.info()[1],
        "format": format_of(etree.fromstring(volume.XMLDesc(0))) or "raw",
    }
