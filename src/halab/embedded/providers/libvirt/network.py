"""libvirt:index/network:Network."""

from __future__ import annotations

import ipaddress
from typing import Any, ClassVar

from lxml import etree

from halab.embedded.provider import Call, Created, Props, ProviderError
from halab.embedded.providers.libvirt.host import Host, api, find, gone
from halab.embedded.providers.libvirt.pool import XSLT
from halab.embedded.providers.libvirt.xml import node, render
from halab.embedded.providers.schema import Field, Fields, stated

MODES = ("none", "nat", "route", "open", "bridge")


class Network:
    fields: ClassVar[Fields] = {
        "name": Field(str, required=True),
        "mode": Field(str, default="nat"),
        "bridge": Field(str, computed=True),
        "mtu": Field(int),
        "domain": Field(str),
        "addresses": Field(list),
        "autostart": Field(bool, replaces=False, computed=True),
        "dhcp": Field(dict, computed=True, fields={"enabled": Field(bool, computed=True)}),
        "dns": Field(dict, computed=True, fields={"enabled": Field(bool, default=True), "localOnly": Field(bool)}),
        "xml": XSLT,
    }
    computed: ClassVar[tuple[str, ...]] = ("autostart", "bridge", "dhcp", "dns")

    def create(self, host: Host, call: Call, inputs: Props) -> Created:
        libvirt = api()
        name, text = inputs["name"], render(network_xml(inputs), inputs)
        connection = host.connection()
        with host.defining:
            if find(lambda: connection.networkLookupByName(name), "VIR_ERR_NO_NETWORK") is not None:
                raise ProviderError(
                    f"Network {name}: a network of that name exists at {host.uri} and is not this stack's: "
                    f"rename one, or remove it with virsh net-destroy and net-undefine"
                )
            network = connection.networkDefineXML(text)
            try:
                network.create()
                network.setAutostart(int(inputs.get("autostart", False)))
            except libvirt.libvirtError:
                if network.isActive():
                    network.destroy()
                network.undefine()
                raise
        return Created(network.UUIDString(), stated(inputs) | _live(network))

    def read(self, host: Host, call: Call, id_: str, outputs: Props) -> Props | None:
        network = _by_id(host, id_)
        return None if network is None else outputs | _live(network)

    def update(self, host: Host, call: Call, id_: str, old: Props, inputs: Props) -> Props:
        network = _by_id(host, id_)
        if network is None:
            raise ProviderError(f"Network {inputs['name']} is gone from {host.uri}: run refresh")
        if not network.isActive():
            network.create()
        if "autostart" in inputs:
            network.setAutostart(int(inputs["autostart"]))
        return stated(inputs) | _live(network)

    def delete(self, host: Host, call: Call, id_: str, outputs: Props) -> None:
        libvirt = api()
        network = _by_id(host, id_)
        if network is None:
            return
        try:
            if network.isActive():
                network.destroy()
            network.undefine()
        except libvirt.libvirtError as error:
            if not gone(error, "VIR_ERR_NO_NETWORK"):
                raise


def network_xml(inputs: Props) -> etree._Element:
    """<network>. The host takes the first address of each subnet, DHCP serves the others unless it is off."""
    name, mode = inputs["name"], inputs["mode"].lower()
    if mode not in MODES:
        raise ProviderError(f"Network {name}: mode {mode} is not one of {', '.join(MODES)}")
    tree = node("network", node("name", name))
    if mode != "none":
        tree.append(node("forward", mode=mode))
    bridge = node("bridge")
    if inputs.get("bridge"):
        bridge.set("name", inputs["bridge"])
    elif mode == "bridge":
        raise ProviderError(f"Network {name}: mode bridge needs the name of a bridge")
    if mode != "bridge":
        bridge.set("stp", "on")
    tree.append(bridge)
    if inputs.get("mtu"):
        tree.append(node("mtu", size=str(inputs["mtu"])))
    dns = inputs.get("dns") or {}
    if inputs.get("domain"):
        tree.append(node("domain", name=inputs["domain"], **({"localOnly": "yes"} if dns.get("localOnly") else {})))
    if mode != "bridge":
        if dns:
            tree.append(node("dns", enable="yes" if dns.get("enabled", True) else "no"))
        dhcp = (inputs.get("dhcp") or {}).get("enabled", True)
        tree.extend(_ip(name, address, dhcp=dhcp) for address in inputs.get("addresses", []))
    return tree


def _ip(name: str, address: str, *, dhcp: bool) -> etree._Element:
    try:
        subnet = ipaddress.ip_network(address, strict=False)
    except ValueError as error:
        raise ProviderError(f"Network {name}: address {address}: {error}") from error
    if subnet.num_addresses < 8:
        raise ProviderError(f"Network {name}: address {address}: the subnet must hold 8 addresses or more")
    tree = node("ip", family=f"ipv{subnet.version}", address=str(subnet[1]), prefix=str(subnet.prefixlen))
    if dhcp:
        tree.append(node("dhcp", node("range", start=str(subnet[2]), end=str(subnet[-2]))))
    return tree


def _by_id(host: Host, id_: str) -> Any | None:
    return find(lambda: host.connection().networkLookupByUUIDString(id_), "VIR_ERR_NO_NETWORK")


def _live(network: Any) -> Props:
    tree = etree.fromstring(network.XMLDesc(0))
    forward, bridge, mtu = tree.find("forward"), tree.find("bridge"), tree.find("mtu")
    domain, dns = tree.find("domain"), tree.find("dns")
    addresses = [
        str(ipaddress.ip_network(f"{ip.get('address')}/{ip.get('prefix') or ip.get('netmask')}", strict=False))
        for ip in tree.findall("ip")
    ]
    live: Props = {
        "name": network.name(),
        "mode": "none" if forward is None else forward.get("mode", "nat"),
        "bridge": "" if bridge is None else bridge.get("name", ""),
        "autostart": bool(network.autostart()),
        "dhcp": {"enabled": tree.find("ip/dhcp") is not None},
    }
    if mtu is not None:
        live["mtu"] = int(mtu.get("size", "0"))
    if addresses:
        live["addresses"] = addresses
    if domain is not None:
        live["domain"] = domain.get("name")
    live["dns"] = {
        "enabled": dns is None or dns.get("enable", "yes") == "yes",
        "localOnly": domain is not None and domain.get("localOnly") == "yes",
    }
    return live
