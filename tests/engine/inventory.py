"""What a state says there is, and what a hypervisor really has, one by one and in the same words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import libvirt  # type: ignore[import-untyped]
from lxml import etree

from halab.embedded.hypervisor import INSIDE_POOL, Hypervisor

OBJECTS = {"Domain": "domain", "Network": "network", "Pool": "pool", "Volume": "volume", "CloudInitDisk": "volume"}


def known(checkpoint: Path) -> set[str]:
    """The objects of a state in which nothing is under way: "kind name id"."""
    latest = json.loads(checkpoint.read_text())["checkpoint"]["latest"]
    assert not latest.get("pending_operations"), latest["pending_operations"]
    found: set[str] = set()
    for one in latest.get("resources") or []:
        assert not one.get("pendingReplacement"), one["urn"]
        if kind := OBJECTS.get(one["type"].rpartition(":")[2]):
            found.add(f"{kind} {one['outputs']['name']} {one['id'].split(';')[0]}")
    return found


def real(hypervisor: Hypervisor) -> set[str]:
    """What libvirt has. It, the files of its pools and the processes there are must agree."""
    connection = libvirt.open(hypervisor.uri)
    try:
        found = {f"domain {one.name()} {one.UUIDString()}" for one in connection.listAllDomains()}
        found |= {f"network {one.name()} {one.UUIDString()}" for one in connection.listAllNetworks()}
        found |= {f"pool {one.name()} {one.UUIDString()}" for one in connection.listAllStoragePools()}
        volumes = {line for pool in connection.listAllStoragePools() for line in _volumes(pool)}
        running = {one.name() for one in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)}
        bridges = {one.bridgeName() for one in connection.listAllNetworks() if one.isActive()}
    finally:
        connection.close()
    inside = {str(INSIDE_POOL / path.relative_to(hypervisor.paths.pool)) for path in _files(hypervisor.paths.pool)}
    assert {line.split()[2] for line in volumes} == inside
    roles = [one.role for one in hypervisor.processes()]
    assert sorted(one for one in roles if one.startswith("qemu")) == sorted(f"qemu:{name}" for name in running)
    assert [roles.count(one) for one in ("holder", "libvirtd", "virtlogd")] == [1, 1, 1], roles
    links = {line.split()[1] for line in hypervisor.leftovers() if line.startswith("link ")}
    assert {link for link in links if not link.startswith("vnet")} == bridges
    return found | volumes


def _volumes(pool: libvirt.virStoragePool) -> Iterator[str]:
    pool.refresh()
    assert etree.fromstring(pool.XMLDesc()).findtext("target/path", "").startswith(str(INSIDE_POOL))
    for volume in pool.listAllVolumes():
        yield f"volume {volume.name()} {volume.key()}"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*/*") if path.is_file())
