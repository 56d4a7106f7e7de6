"""The stylesheets, run by libxslt over XML of the shape that pulumi-libvirt writes."""

from __future__ import annotations

import pytest
from lxml import etree

from components.stylesheet import stylesheet

DOMAIN = """
<domain type="{kind}">
  <name>halab-mine-controller-1</name>
  <memory unit="MiB">512</memory>
  <os><type machine="pc">hvm</type></os>
  <features><pae/><acpi/><apic/></features>
  <cpu/>
  <devices>
    <disk type="volume" device="disk">
      <driver name="qemu" type="qcow2"/><source pool="halab-mine" volume="root.qcow2"/><target dev="vda" bus="virtio"/>
    </disk>
    <disk type="file" device="cdrom">
      <driver name="qemu" type="raw"/><source file="/pool/seed.iso"/><target dev="hdd" bus="ide"/>
    </disk>
    <interface type="network"><source network="n"/></interface>
    <console><target type="serial" port="0"/></console>
    <channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>
    <graphics type="spice" autoport="yes"/>
    <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
  </devices>
</domain>
"""
VALUES = {
    "uuid": "4354606c-2a98-479c-afbe-7fcc337508f9",
    "stack": "mine",
    "node": "controller-1",
    "pool": "/pool",
    "cache": "unsafe",
    "translations": "256",
}


def applied(name: str, document: str, **variables: str) -> etree._Element:
    transform = etree.XSLT(etree.fromstring(stylesheet(name, **variables).encode()))
    root: etree._Element = transform(etree.fromstring(document)).getroot()
    return root


def test_a_domain_gets_its_own_uuid_and_its_owners_name() -> None:
    domain = applied("domain", DOMAIN.format(kind="kvm"), **VALUES)
    assert [element.text for element in domain.findall("uuid")] == [VALUES["uuid"]]
    owner = domain.find("metadata/{urn:halab:owner}owner")
    assert owner is not None
    assert dict(owner.attrib.items()) == {"stack": "mine", "node": "controller-1"}
    assert len(domain.findall("name")) == 1


def test_disks_are_files_with_the_chosen_cache_and_the_seed_is_untouched() -> None:
    domain = applied("domain", DOMAIN.format(kind="kvm"), **{**VALUES, "cache": "writeback"})
    disk, seed = domain.findall("devices/disk")
    assert disk.get("type") == "file"
    assert dict(disk.find("source").attrib) == {"file": "/pool/root.qcow2"}  # type: ignore[union-attr]
    assert disk.find("driver").get("cache") == "writeback"  # type: ignore[union-attr]
    assert seed.find("driver").get("cache") is None  # type: ignore[union-attr]
    assert dict(seed.find("source").attrib) == {"file": "/pool/seed.iso"}  # type: ignore[union-attr]


def test_the_serial_console_is_logged_and_there_is_no_other_screen() -> None:
    devices = applied("domain", DOMAIN.format(kind="kvm"), **VALUES).find("devices")
    assert devices is not None
    log = devices.find("console/log")
    assert log is not None
    assert log.get("file") == "/var/log/libvirt/qemu/halab-mine-controller-1-console.log"
    assert devices.find("console/target").get("type") == "serial"  # type: ignore[union-attr]
    for gone in ("graphics", "video", "channel"):
        assert devices.find(gone) is None
    assert devices.find("memballoon").get("model") == "none"  # type: ignore[union-attr]


@pytest.mark.parametrize(("kind", "expected"), [("qemu", ["256"]), ("kvm", [])])
def test_translated_code_is_bounded_where_code_is_translated(kind: str, expected: list[str]) -> None:
    domain = applied("domain", DOMAIN.format(kind=kind), **VALUES)
    assert [element.text for element in domain.findall("features/tcg/tb-cache")] == expected
    assert domain.find("features/acpi") is not None


def test_values_stay_values() -> None:
    domain = applied("domain", DOMAIN.format(kind="kvm"), **{**VALUES, "node": "<&'\"{x}"})
    assert domain.find("metadata/{urn:halab:owner}owner").get("node") == "<&'\"{x}"  # type: ignore[union-attr]


def test_a_network_has_no_dnsmasq_and_forwards_at_once() -> None:
    document = """
    <network><name>n</name><bridge name="br0" stp="on"/><dns enable="yes"/>
      <ip family="ipv4" address="10.0.0.1" prefix="22"/></network>"""
    network = applied("network", document, stack="mine")
    assert [element.get("enable") for element in network.findall("dns")] == ["no"]
    bridge = network.find("bridge")
    assert bridge is not None
    assert dict(bridge.attrib.items()) == {"name": "br0", "stp": "off", "delay": "0"}
    assert network.find("ip").get("address") == "10.0.0.1"  # type: ignore[union-attr]


def test_a_network_says_whose_it_is() -> None:
    network = applied("network", "<network><name>n</name><bridge name='br0'/></network>", stack="mine")
    owner = network.find("metadata/{urn:halab:owner}owner")
    assert owner is not None
    assert dict(owner.attrib.items()) == {"stack": "mine"}
    assert network[0].tag == "name"


def test_a_missing_or_unknown_variable_is_an_error() -> None:
    with pytest.raises(KeyError, match="variables"):
        stylesheet("domain", uuid="x")
    with pytest.raises(KeyError, match="variables"):
        stylesheet("network", colour="x")


def test_the_same_values_give_the_same_text() -> None:
    """A changed text replaces the VM."""
    assert stylesheet("domain", **VALUES) == stylesheet("domain", **VALUES)


def test_only_an_emulated_domain_is_given_a_cpu_model() -> None:
    emulated, real = (applied("domain", DOMAIN.format(kind=kind), **VALUES) for kind in ("qemu", "kvm"))
    assert emulated.findtext("cpu/model") == "Westmere"
    assert real.find("cpu/model") is None
