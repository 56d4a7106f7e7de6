"""What a libvirtd says of a domain, as the properties that a program would have given."""

from __future__ import annotations

from typing import Any

from lxml import etree

from halab.embedded.provider import Props
from halab.embedded.providers.libvirt.domain_xml import SEED_SERIAL, command_line, split_command_line
from halab.embedded.providers.libvirt.host import Host, api, find


def live(host: Host, domain: Any, known: Props) -> Props:
    """What the daemon says of the domain. `known` settles equal spellings, so that a refresh changes nothing."""
    # The definition, not the running state: there host-model is expanded and a bridge network looks like a bridge.
    tree = etree.fromstring(domain.XMLDesc(api().VIR_DOMAIN_XML_INACTIVE))
    kind = tree.find("os/type")
    assert kind is not None, "libvirt always writes os/type"
    found: Props = {
        "name": domain.name(),
        "description": tree.findtext("description", ""),
        "vcpu": int(tree.findtext("vcpu", "1")),
        "memory": int(tree.findtext("memory", "0")) // 1024,
        "arch": kind.get("arch", ""),
        "machine": _alias(host, kind.get("arch"), kind.get("machine", ""), known.get("machine")),
        "emulator": tree.findtext("devices/emulator", ""),
        "kernel": tree.findtext("os/kernel", ""),
        "initrd": tree.findtext("os/initrd", ""),
        "autostart": bool(domain.autostart()),
        "running": bool(domain.isActive()) and not paused(domain),
        "nvram": {},
        "disks": _disks(host, tree, known.get("disks", [])),
        "networkInterfaces": [_live_interface(host, nic) for nic in tree.findall("devices/interface")],
    }
    cmdline = tree.findtext("os/cmdline", "")
    if command_line(known.get("cmdlines", [])) != cmdline:
        found["cmdlines"] = split_command_line(cmdline)
    cpu = tree.find("cpu")
    found["cpu"] = {"mode": cpu.get("mode")} if cpu is not None and cpu.get("mode") else {}
    loader, nvram = tree.findtext("os/loader"), tree.find("os/nvram")
    if loader:
        found["firmware"] = loader
    if nvram is not None:
        found["nvram"] = {
            name: value for name, value in (("file", nvram.text), ("template", nvram.get("template"))) if value
        }
    return found


def _alias(host: Host, arch: str | None, canonical: str, known: str | None) -> str:
    """The machine type as the program spells it: "pc" for "pc-i440fx-10.0"."""
    types = machines(host, arch)
    if known and types.get(known) == canonical:
        return known
    return next((alias for alias, name in types.items() if name == canonical and alias != canonical), canonical)


def _disks(host: Host, tree: etree._Element, known: list[Props]) -> list[Props]:
    """The domain's disks without the seed; a volume that cannot be looked up keeps what is known of its place."""
    disks: list[Props] = []
    for disk in tree.findall("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        if disk.findtext("serial") == SEED_SERIAL or source is None:
            continue
        scsi = target is not None and target.get("bus") == "scsi"
        seen: Props = {"scsi": scsi}
        if scsi and disk.findtext("wwn"):
            seen["wwn"] = disk.findtext("wwn")
        if disk.get("type") == "block":
            seen["blockDevice"] = source.get("dev")
        elif disk.get("device") == "cdrom":
            seen["file"] = source.get("file")
        else:
            key = _volume_key(host, source)
            before = known[len(disks)] if len(disks) < len(known) else {}
            if before.get("file") and before["file"] == source.get("file"):
                seen["file"] = before["file"]
            elif key is not None:
                seen["volumeId"] = key
            elif before.get("volumeId"):
                seen["volumeId"] = before["volumeId"]
            else:
                seen["file"] = source.get("file")
        disks.append(seen)
    return disks


def _volume_key(host: Host, source: etree._Element) -> str | None:
    connection = host.connection()
    path, pool_name, volume_name = source.get("file"), source.get("pool"), source.get("volume")
    if path:
        volume = find(lambda: connection.storageVolLookupByPath(path), "VIR_ERR_NO_STORAGE_VOL")
    else:
        pool = find(lambda: connection.storagePoolLookupByName(pool_name), "VIR_ERR_NO_STORAGE_POOL")
        if pool is None or not pool.isActive():
            return None
        volume = find(lambda: pool.storageVolLookupByName(volume_name), "VIR_ERR_NO_STORAGE_VOL")
    return None if volume is None else str(volume.key())


def _live_interface(host: Host, nic: etree._Element) -> Props:
    mac, source = nic.find("mac"), nic.find("source")
    seen: Props = {
        "networkId": "",
        "networkName": "",
        "bridge": "",
        "mac": "" if mac is None else mac.get("address", "").upper(),
        "waitForLease": False,
        "addresses": [],
    }
    if source is not None and nic.get("type") == "network":
        name = source.get("network")
        network = find(lambda: host.connection().networkLookupByName(name), "VIR_ERR_NO_NETWORK")
        seen["networkName"] = name
        seen["networkId"] = "" if network is None else network.UUIDString()
    elif source is not None and nic.get("type") == "bridge":
        seen["bridge"] = source.get("bridge", "")
    return seen


def paused(domain: Any) -> bool:
    """Whether it stands still: by hand, or by qemu when its disk could not be written (a full file system)."""
    return bool(domain.state()[0] == api().VIR_DOMAIN_PAUSED)


def machines(host: Host, arch: str | None) -> dict[str, str]:
    """Machine type → canonical machine type, of the host's architecture unless another is named."""
    tree = etree.fromstring(host.connection().getCapabilities())
    wanted = arch or tree.findtext("host/cpu/arch")
    return {
        machine.text: machine.get("canonical", machine.text)
        for guest in tree.findall("guest")
        if (found := guest.find("arch")) is not None and found.get("name") == wanted
        for machine in found.iter("machine")
        if machine.text
    }
