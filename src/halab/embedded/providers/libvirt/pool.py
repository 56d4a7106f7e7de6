"""libvirt:index/pool:Pool: a directory pool."""

from __future__ import annotations

import errno
from typing import Any, ClassVar

from lxml import etree

from halab.embedded.provider import Call, Created, Props, ProviderError
from halab.embedded.providers.libvirt.host import Host, api, find
from halab.embedded.providers.libvirt.xml import node, render
from halab.embedded.providers.schema import Field, Fields, stated

XSLT = Field(dict, fields={"xslt": Field(str)})


class Pool:
    fields: ClassVar[Fields] = {
        "name": Field(str, required=True),
        "type": Field(str, required=True),
        "path": Field(str),
        "target": Field(dict, computed=True, fields={"path": Field(str, computed=True)}),
        "xml": XSLT,
    }
    computed: ClassVar[tuple[str, ...]] = ("allocation", "available", "capacity", "target")

    def create(self, host: Host, call: Call, inputs: Props) -> Created:
        libvirt = api()
        name = inputs["name"]
        if inputs["type"] != "dir":
            raise ProviderError(f"Pool {name}: type {inputs['type']}: the embedded engine implements type dir only")
        text = render(pool_xml(inputs), inputs)
        with host.pool_lock(name):
            connection = host.connection()
            if find(lambda: connection.storagePoolLookupByName(name), "VIR_ERR_NO_STORAGE_POOL") is not None:
                raise ProviderError(
                    f"Pool {name}: a storage pool of that name exists at {host.uri} and is not this stack's: "
                    f"rename one, or remove it with virsh pool-destroy and pool-undefine"
                )
            pool = connection.storagePoolDefineXML(text, 0)
            try:
                pool.build(0)
                pool.setAutostart(1)
                pool.create(0)
                pool.refresh(0)
                if strangers := sorted(volume.name() for volume in pool.listAllVolumes()):
                    raise ProviderError(
                        f"Pool {name}: its folder {target_path(inputs)} at {host.uri} holds {', '.join(strangers[:5])} "
                        "already, which is not this stack's: move it away"
                    )
            except (libvirt.libvirtError, ProviderError):
                if pool.isActive():
                    pool.destroy()
                pool.undefine()
                raise
        return Created(pool.UUIDString(), stated(inputs) | _live(pool, inputs))

    def read(self, host: Host, call: Call, id_: str, outputs: Props) -> Props | None:
        pool = _by_id(host, id_)
        return None if pool is None else outputs | _live(pool, outputs)

    def update(self, host: Host, call: Call, id_: str, old: Props, inputs: Props) -> Props:
        pool = _by_id(host, id_)
        if pool is None:
            raise ProviderError(f"Pool {inputs['name']} is gone from {host.uri}: run refresh")
        return stated(inputs) | _live(pool, inputs)

    def delete(self, host: Host, call: Call, id_: str, outputs: Props) -> None:
        libvirt = api()
        pool = _by_id(host, id_)
        if pool is None:
            return
        name = pool.name()
        with host.pool_lock(name):
            if pool.isActive():
                host.refresh(pool, call)
                left = sorted(volume.name() for volume in pool.listAllVolumes())
                if left:
                    raise ProviderError(f"Pool {name}: still holds {', '.join(left[:5])}: remove what you put there")
                pool.destroy()
            try:
                pool.delete(0)
            except libvirt.libvirtError as error:
                # A mount point stays: whoever mounted it owns the directory.
                if error.get_int1() not in {errno.EBUSY, errno.ENOENT}:
                    pool.create(0)
                    raise
            pool.undefine()


def pool_xml(inputs: Props) -> etree._Element:
    """<pool type="dir"> with the target path of the inputs."""
    path = target_path(inputs)
    if not path:
        raise ProviderError(f"Pool {inputs['name']}: target.path is missing")
    return node("pool", node("name", inputs["name"]), node("target", node("path", path)), type="dir")


def target_path(inputs: Props) -> str:
    """The pool's folder on the hypervisor, "" when the inputs have none."""
    return str((inputs.get("target") or {}).get("path") or inputs.get("path") or "")


def _by_id(host: Host, id_: str) -> Any | None:
    return find(lambda: host.connection().storagePoolLookupByUUIDString(id_), "VIR_ERR_NO_STORAGE_POOL")


def _live(pool: Any, props: Props) -> Props:
    tree = etree.fromstring(pool.XMLDesc(0))
    _state, capacity, allocation, available = pool.info()
    path = tree.findtext("target/path")
    return {
        "name": pool.name(),
        "type": tree.get("type"),
        "capacity": capacity,
        "allocation": allocation,
        "available": available,
        **({"path": path} if props.get("path") else {"target": {"path": path}}),
    }
