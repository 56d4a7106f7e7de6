"""A domain's XML as pulumi-libvirt 0.5.4 (terraform-provider-libvirt 0.8.1) writes it, from inputs and names.

Pure. What the daemon knows (pools, networks, the machine type behind an alias) comes in as arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

from lxml import etree

from halab.embedded.provider import Props, ProviderError
from halab.embedded.providers.libvirt.xml import node

RNG_DEVICE = "/dev/urandom"
SEED_SERIAL = "cloudinit"  # marks the seed's cdrom, so that it is not read back as one of the domain's disks


@dataclass(frozen=True, slots=True)
class VolumeRef:
    """Where a disk's volume lives, and its format ("qcow2", "raw", or "" when the pool does not know)."""

    pool: str
    name: str
    format: str


def domain_xml(
    inputs: Props,
    *,
    machine: str = "",
    volumes: Mapping[str, VolumeRef] | None = None,
    networks: Mapping[str, str] | None = None,
    seed: str | None = None,
) -> etree._Element:
    """<domain>. `machine` is the canonical machine type or "" for the daemon's choice; `volumes` by volume id, network
    names by network id; `seed` the path of the seed image. Every interface has its MAC."""
    tree = node(
        "domain",
        node("name", inputs["name"]),
        *([node("description", inputs["description"])] if inputs.get("description") else []),
        node("memory", str(inputs["memory"]), unit="MiB"),
        node("vcpu", str(inputs["vcpu"])),
        _os(inputs, machine),
        node("features", node("pae"), node("acpi"), node("apic")),
        _cpu(inputs),
        type=inputs["type"],
    )
    devices = node("devices")
    if inputs.get("emulator"):
        devices.append(node("emulator", inputs["emulator"]))
    devices.extend(_disk(index, disk, volumes or {}) for index, disk in enumerate(_numbered(inputs)))
    if seed is not None:
        devices.append(seed_disk(seed))
    if any(disk.get("scsi") for disk in inputs.get("disks", [])):
        devices.append(node("controller", type="scsi", model="virtio-scsi"))
    devices.extend(_interface(interface, networks or {}) for interface in inputs.get("networkInterfaces", []))
    devices.extend(_console(inputs["name"], console) for console in inputs.get("consoles", []))
    devices.append(node("channel", node("target", type="virtio", name="org.qemu.guest_agent.0"), type="unix"))
    devices.append(_graphics(inputs))
    if inputs.get("video"):
        devices.append(node("video", node("model", type=inputs["video"]["type"])))
    devices.append(node("rng", node("backend", RNG_DEVICE, model="random"), model="virtio"))
    tree.append(devices)
    return tree


def command_line(cmdlines: list[dict[str, str]]) -> str:
    """The kernel command line of the `cmdlines` input: every argument, sorted; the key "_" holds bare flags."""
    return " ".join(sorted(str(v) if k == "_" else f"{k}={v}" for line in cmdlines for k, v in line.items()))


def split_command_line(text: str) -> list[dict[str, str]]:
    """The `cmdlines` shape of a kernel command line: a new map at each repeated key, bare flags last under "_"."""
    lines: list[dict[str, str]] = []
    current: dict[str, str] = {}
    flags = []
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals:
            flags.append(word)
            continue
        if key in current:
            lines.append(current)
            current = {}
        current[key] = value
    return [*lines, *([current] if current else []), *([{"_": " ".join(flags)}] if flags else [])]


def _os(inputs: Props, machine: str) -> etree._Element:
    kind = node("type", "hvm")
    for name, value in (("arch", inputs.get("arch")), ("machine", machine)):
        if value:
            kind.set(name, value)
    tree = node("os", kind)
    if inputs.get("firmware"):
        tree.append(node("loader", inputs["firmware"], readonly="yes", type="pflash", secure="no"))
        nvram = inputs.get("nvram") or {}
        if nvram:
            tree.append(node("nvram", nvram.get("file", ""), **_present(template=nvram.get("template"))))
    for tag, value in (
        ("kernel", inputs.get("kernel")),
        ("initrd", inputs.get("initrd")),
        ("cmdline", command_line(inputs.get("cmdlines", []))),
    ):
        if value:
            etree.SubElement(tree, tag).text = value
    for entry in inputs.get("bootDevices", []):
        tree.extend(node("boot", dev=device) for device in entry.get("devs", []))
    return tree


def _cpu(inputs: Props) -> etree._Element:
    return node("cpu", **_present(mode=(inputs.get("cpu") or {}).get("mode")))


def _numbered(inputs: Props) -> list[Props]:
    """The disks, each SCSI one with its number among the SCSI ones, each ISO file with its number among those."""
    counted = []
    scsi = isos = 0
    for disk in inputs.get("disks", []):
        iso = disk.get("file", "").endswith(".iso")
        counted.append(disk | {"scsiNumber": scsi, "isoNumber": isos})
        scsi += bool(disk.get("scsi"))
        isos += iso
    return counted


def _disk(index: int, disk: Props, volumes: Mapping[str, VolumeRef]) -> etree._Element:
    target = node("target", dev=f"vd{_letters(index)}", bus="virtio")
    if disk.get("scsi"):
        target = node("target", dev=f"sd{_letters(disk['scsiNumber'])}", bus="scsi")
    device, format_ = "disk", "raw"
    if disk.get("volumeId"):
        volume = volumes[disk["volumeId"]]
        kind, source = "volume", node("source", pool=volume.pool, volume=volume.name)
        format_ = volume.format if volume.format in {"qcow2", "raw"} else "raw"
    elif disk.get("file"):
        kind, source = "file", node("source", file=disk["file"])
        format_ = "qcow2" if disk["file"].endswith(".qcow2") else "raw"
        if disk["file"].endswith(".iso"):
            device, target = "cdrom", node("target", dev=f"hd{_letters(disk['isoNumber'])}", bus="ide")
    elif disk.get("blockDevice"):
        kind, source = "block", node("source", dev=disk["blockDevice"])
    else:
        raise ProviderError(f"disk {index} has none of volumeId, file, blockDevice")
    tree = node("disk", node("driver", name="qemu", type=format_), source, target, type=kind, device=device)
    if disk.get("scsi") and disk.get("wwn"):
        tree.append(node("wwn", disk["wwn"]))
    return tree


def _letters(number: int) -> str:
    """a … z, aa, ab, …"""
    text = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        text = ascii_lowercase[letter] + text
    return text


def seed_disk(path: str) -> etree._Element:
    """The cdrom with the seed: the last device of the one IDE controller of an i440FX machine."""
    return node(
        "disk",
        node("driver", name="qemu", type="raw"),
        node("source", file=path),
        node("target", dev="hdd", bus="ide"),
        node("serial", SEED_SERIAL),
        type="file",
        device="cdrom",
    )


def _interface(interface: Props, networks: Mapping[str, str]) -> etree._Element:
    network = interface.get("networkName") or networks.get(interface.get("networkId", ""))
    if network:
        kind, source = "network", node("source", network=network)
    elif interface.get("bridge"):
        kind, source = "bridge", node("source", bridge=interface["bridge"])
    else:
        raise ProviderError(f"interface {interface['mac']} has none of networkId, networkName, bridge")
    return node(
        "interface", node("mac", address=interface["mac"].upper()), source, node("model", type="virtio"), type=kind
    )


def _console(name: str, console: Props) -> etree._Element:
    """A pty without a path carries no type attribute, as pulumi-libvirt writes it: stylesheets match on that."""
    if not console["targetPort"].isdigit():
        raise ProviderError(f"Domain {name}: console targetPort {console['targetPort']} is not a number")
    tree = node("console")
    path = console.get("sourcePath")
    if console["type"] == "tcp":
        tree.set("type", "tcp")
        tree.append(node("source", mode="bind", host=console["sourceHost"], service=console["sourceService"]))
        tree.append(node("protocol", type="telnet"))
    elif path:
        tree.set("type", "pty" if console["type"] == "pty" else "dev")
        tree.append(node("source", path=path))
    tree.append(node("target", **_present(type=console.get("targetType"), port=console["targetPort"])))
    return tree


def _graphics(inputs: Props) -> etree._Element:
    graphics = inputs.get("graphics")
    if not graphics:
        return node("graphics", type="spice", autoport="yes")
    if graphics["type"] not in {"spice", "vnc"}:
        raise ProviderError(f"Domain {inputs['name']}: graphics type {graphics['type']} is not spice or vnc")
    listen = node("listen", type=graphics["listenType"])
    if graphics["listenType"] == "address":
        listen.set("address", graphics["listenAddress"])
    tree = node("graphics", listen, type=graphics["type"], autoport="yes" if graphics["autoport"] else "no")
    if graphics.get("websocket") and graphics["type"] == "vnc":
        tree.set("websocket", str(graphics["websocket"]))
    return tree


def _present(**attributes: Any) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if value}
