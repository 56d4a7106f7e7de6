"""libvirt:index/domain:Domain."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

from lxml import etree

from halab.embedded.provider import Call, Created, Props, ProviderError
from halab.embedded.providers.libvirt.domain_live import live, machines, paused
from halab.embedded.providers.libvirt.domain_xml import VolumeRef, command_line, domain_xml, seed_disk
from halab.embedded.providers.libvirt.host import Host, api, find, gone, said
from halab.embedded.providers.libvirt.pool import XSLT
from halab.embedded.providers.libvirt.seed import key_of
from halab.embedded.providers.libvirt.volume import format_of
from halab.embedded.providers.libvirt.xml import render
from halab.embedded.providers.schema import Field, Fields, stated


def _same_mac(old: str, new: str) -> bool:
    return old.upper() == new.upper()


def _same_command_line(old: list[dict[str, str]], new: list[dict[str, str]]) -> bool:
    return command_line(old) == command_line(new)


class Domain:
    fields: ClassVar[Fields] = {
        "name": Field(str, required=True),
        "description": Field(str),
        "type": Field(str, default="kvm"),
        "vcpu": Field(int, default=1),
        "memory": Field(int, default=512),
        "arch": Field(str, computed=True),
        "machine": Field(str, computed=True),
        "emulator": Field(str, computed=True),
        "cpu": Field(dict, computed=True, fields={"mode": Field(str, computed=True)}),
        "firmware": Field(str),
        "nvram": Field(
            dict, computed=True, fields={"file": Field(str, computed=True), "template": Field(str, computed=True)}
        ),
        "kernel": Field(str),
        "initrd": Field(str),
        "cmdlines": Field(list, same=_same_command_line),
        "bootDevices": Field(list, many=True, fields={"devs": Field(list)}),
        "cloudinit": Field(str, replaces=False),
        "disks": Field(
            list,
            many=True,
            fields={
                "volumeId": Field(str),
                "file": Field(str),
                "blockDevice": Field(str),
                "scsi": Field(bool, default=False),
                "wwn": Field(str, computed=True),
            },
        ),
        "networkInterfaces": Field(
            list,
            many=True,
            fields={
                "networkId": Field(str, computed=True),
                "networkName": Field(str, computed=True),
                "bridge": Field(str),
                "mac": Field(str, computed=True, same=_same_mac),
            },
        ),
        "consoles": Field(
            list,
            many=True,
            fields={
                "type": Field(str, required=True),
                "targetPort": Field(str, required=True),
                "targetType": Field(str),
                "sourcePath": Field(str),
                "sourceHost": Field(str, default="127.0.0.1"),
                "sourceService": Field(str, default="0"),
            },
        ),
        "graphics": Field(
            dict,
            fields={
                "type": Field(str, default="spice"),
                "autoport": Field(bool, default=True),
                "listenType": Field(str, default="none"),
                "listenAddress": Field(str, default="127.0.0.1"),
                "websocket": Field(int),
            },
        ),
        "video": Field(dict, fields={"type": Field(str, default="cirrus")}),
        "autostart": Field(bool, replaces=False, computed=True),
        "running": Field(bool, replaces=False, default=True),
        "coreosIgnition": Field(str, default=""),
        "fwCfgName": Field(str, default="opt/com.coreos/config"),
        "qemuAgent": Field(bool, replaces=False, default=False),
        "xml": XSLT,
    }
    computed: ClassVar[tuple[str, ...]] = ("arch", "autostart", "cpu", "emulator", "machine", "nvram")

    def create(self, host: Host, call: Call, inputs: Props) -> Created:
        libvirt = api()
        name = inputs["name"]
        text = _rendered(host, inputs)
        connection = host.connection()
        if find(lambda: connection.lookupByName(name), "VIR_ERR_NO_DOMAIN") is not None:
            raise ProviderError(
                f"Domain {name}: a domain of that name exists at {host.uri} and is not this stack's: "
                f"rename one, or remove it with virsh destroy and undefine"
            )
        domain = connection.defineXML(text)
        try:
            domain.setAutostart(int(inputs.get("autostart", False)))
            if inputs["running"]:
                domain.create()
        except libvirt.libvirtError as error:
            _remove(domain)
            raise ProviderError(f"Domain {name} does not start: {said(error)}") from error
        return Created(domain.UUIDString(), stated(inputs) | live(host, domain, stated(inputs)))

    def read(self, host: Host, call: Call, id_: str, outputs: Props) -> Props | None:
        domain = _by_id(host, id_)
        return None if domain is None else outputs | live(host, domain, outputs)

    def update(self, host: Host, call: Call, id_: str, old: Props, inputs: Props) -> Props:
        libvirt = api()
        domain = _by_id(host, id_)
        if domain is None:
            raise ProviderError(f"Domain {inputs['name']} is gone from {host.uri}: run refresh")
        if "autostart" in inputs:
            domain.setAutostart(int(inputs["autostart"]))
        if inputs["running"] and not domain.isActive():
            domain.create()
        elif inputs["running"] and paused(domain):
            domain.resume()
        elif not inputs["running"] and domain.isActive():
            domain.destroy()
        if inputs.get("cloudinit") != old.get("cloudinit") and inputs.get("cloudinit"):
            flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
            if domain.isActive():
                flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
            disk = seed_disk(_seed_path(host, inputs))
            domain.updateDeviceFlags(etree.tostring(disk, encoding="unicode"), flags)
        return stated(inputs) | live(host, domain, stated(inputs))

    def delete(self, host: Host, call: Call, id_: str, outputs: Props) -> None:
        domain = _by_id(host, id_)
        if domain is not None:
            _remove(domain)


def _by_id(host: Host, id_: str) -> Any | None:
    return find(lambda: host.connection().lookupByUUIDString(id_), "VIR_ERR_NO_DOMAIN")


def _remove(domain: Any) -> None:
    """Power off and undefine, with everything libvirt keeps beside the definition. A domain already gone is fine."""
    libvirt = api()
    try:
        if domain.isActive():
            try:
                domain.destroy()
            except libvirt.libvirtError as error:
                if not gone(error, "VIR_ERR_OPERATION_INVALID"):  # it went off by itself meanwhile
                    raise
        try:
            domain.undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
                | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            )
        except libvirt.libvirtError as error:
            if not gone(error, "VIR_ERR_NO_SUPPORT", "VIR_ERR_INVALID_ARG"):
                raise
            domain.undefine()
    except libvirt.libvirtError as error:
        if not gone(error, "VIR_ERR_NO_DOMAIN"):
            raise


def _rendered(host: Host, inputs: Props) -> str:
    generated = (f"52:54:00:{secrets.token_hex(1)}:{secrets.token_hex(1)}:{secrets.token_hex(1)}" for _ in iter(int, 1))
    inputs = inputs | {
        "networkInterfaces": [{"mac": next(generated)} | nic for nic in inputs.get("networkInterfaces", [])]
    }
    for unsupported in ("coreosIgnition", "qemuAgent"):
        if inputs.get(unsupported):
            raise ProviderError(
                f"Domain {inputs['name']}: the embedded engine does not implement {unsupported}: use --engine cli"
            )
    tree = domain_xml(
        inputs,
        machine=_canonical(host, inputs),
        volumes={
            disk["volumeId"]: _volume_ref(host, inputs["name"], disk["volumeId"])
            for disk in inputs.get("disks", [])
            if disk.get("volumeId")
        },
        networks={
            interface["networkId"]: _network_name(host, inputs["name"], interface["networkId"])
            for interface in inputs.get("networkInterfaces", [])
            if interface.get("networkId")
        },
        seed=_seed_path(host, inputs) if inputs.get("cloudinit") else None,
    )
    return render(tree, inputs)


def _volume_ref(host: Host, name: str, key: str) -> VolumeRef:
    volume = host.volume(key)
    if volume is None:
        raise ProviderError(f"Domain {name}: its volume {key} is not at {host.uri}")
    format_ = format_of(etree.fromstring(volume.XMLDesc(0)))
    return VolumeRef(volume.storagePoolLookupByVolume().name(), volume.name(), format_)


def _network_name(host: Host, name: str, id_: str) -> str:
    network = find(lambda: host.connection().networkLookupByUUIDString(id_), "VIR_ERR_NO_NETWORK")
    if network is None:
        raise ProviderError(f"Domain {name}: its network {id_} is not at {host.uri}")
    return str(network.name())


def _seed_path(host: Host, inputs: Props) -> str:
    volume = host.volume(key_of(inputs["cloudinit"]))
    if volume is None:
        raise ProviderError(f"Domain {inputs['name']}: its seed {key_of(inputs['cloudinit'])} is not at {host.uri}")
    return str(volume.path())


def _canonical(host: Host, inputs: Props) -> str:
    known = machines(host, inputs.get("arch"))
    wanted = inputs.get("machine")
    if wanted is None:
        return known.get("pc", "")
    if wanted not in known:
        raise ProviderError(f"Domain {inputs['name']}: {host.uri} has no machine type {wanted}: see virsh capabilities")
    return known[wanted]
