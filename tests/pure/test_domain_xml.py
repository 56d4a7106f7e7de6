"""The XML of domains, networks, volumes and pools, as pulumi-libvirt 0.5.4 writes it, and the seed's image."""

from __future__ import annotations

import pytest
from lxml import etree

from components.cmdline import canonical
from components.stylesheet import stylesheet
from halab.embedded.provider import Props, ProviderError
from halab.embedded.providers.libvirt.domain import Domain
from halab.embedded.providers.libvirt.domain_xml import VolumeRef, command_line, domain_xml, split_command_line
from halab.embedded.providers.libvirt.network import Network, network_xml
from halab.embedded.providers.libvirt.pool import pool_xml
from halab.embedded.providers.libvirt.seed import seed_files, seed_iso
from halab.embedded.providers.libvirt.volume import volume_xml
from halab.embedded.providers.libvirt.xml import render
from halab.embedded.providers.schema import check


def same(tree: etree._Element | str, golden: str) -> bool:
    text = tree if isinstance(tree, str) else etree.tostring(tree, encoding="unicode")
    assert etree.canonicalize(text, strip_text=True) == etree.canonicalize(golden, strip_text=True)
    return True


def domain(**inputs: object) -> Props:
    return check("Domain", Domain.fields, {"name": "d", **inputs})


DEFAULT = """
<domain type="kvm">
  <name>d</name>
  <memory unit="MiB">512</memory>
  <vcpu>1</vcpu>
  <os><type machine="pc-i440fx-10.0">hvm</type></os>
  <features><pae/><acpi/><apic/></features>
  <cpu/>
  <devices>
    <channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>
    <graphics type="spice" autoport="yes"/>
    <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
  </devices>
</domain>"""


def test_a_domain_with_nothing_said_is_the_plugins_default() -> None:
    assert same(domain_xml(domain(), machine="pc-i440fx-10.0"), DEFAULT)


MACHINE: Props = {
    "type": "qemu",
    "description": "node c1",
    "memory": 2048,
    "vcpu": 2,
    "arch": "x86_64",
    "cpu": {"mode": "maximum"},
    "kernel": "/pool/vmlinuz",
    "initrd": "/pool/initrd",
    "cmdlines": [{"root": "/dev/vda", "console": "tty0"}, {"console": "ttyS0"}, {"_": "quiet ro"}],
    "bootDevices": [{"devs": ["hd", "network"]}],
    "disks": [{"volumeId": "/pool/root"}, {"volumeId": "/pool/data", "scsi": True, "wwn": "05abcd"}],
    "networkInterfaces": [
        {"networkId": "uuid-1", "mac": "52:54:00:aa:bb:01"},
        {"bridge": "br0", "mac": "52:54:00:aa:bb:02"},
    ],
    "consoles": [
        {"type": "pty", "targetType": "serial", "targetPort": "0"},
        {"type": "tcp", "targetType": "serial", "targetPort": "1", "sourceService": "4555"},
    ],
    "graphics": {"type": "vnc", "listenType": "address"},
    "video": {"type": "none"},
}
WHOLE = """
<domain type="qemu">
  <name>d</name>
  <description>node c1</description>
  <memory unit="MiB">2048</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch="x86_64" machine="pc">hvm</type>
    <kernel>/pool/vmlinuz</kernel>
    <initrd>/pool/initrd</initrd>
    <cmdline>console=tty0 console=ttyS0 quiet ro root=/dev/vda</cmdline>
    <boot dev="hd"/><boot dev="network"/>
  </os>
  <features><pae/><acpi/><apic/></features>
  <cpu mode="maximum"/>
  <devices>
    <disk type="volume" device="disk">
      <driver name="qemu" type="qcow2"/><source pool="p" volume="root"/><target dev="vda" bus="virtio"/>
    </disk>
    <disk type="volume" device="disk">
      <driver name="qemu" type="raw"/><source pool="p" volume="data"/><target dev="sda" bus="scsi"/><wwn>05abcd</wwn>
    </disk>
    <disk type="file" device="cdrom">
      <driver name="qemu" type="raw"/><source file="/pool/seed.iso"/><target dev="hdd" bus="ide"/>
      <serial>cloudinit</serial>
    </disk>
    <controller type="scsi" model="virtio-scsi"/>
    <interface type="network">
      <mac address="52:54:00:AA:BB:01"/><source network="lab"/><model type="virtio"/>
    </interface>
    <interface type="bridge">
      <mac address="52:54:00:AA:BB:02"/><source bridge="br0"/><model type="virtio"/>
    </interface>
    <console><target type="serial" port="0"/></console>
    <console type="tcp">
      <source mode="bind" host="127.0.0.1" service="4555"/><protocol type="telnet"/><target type="serial" port="1"/>
    </console>
    <channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>
    <graphics type="vnc" autoport="yes"><listen type="address" address="127.0.0.1"/></graphics>
    <video><model type="none"/></video>
    <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
  </devices>
</domain>"""


def whole(inputs: Props) -> etree._Element:
    return domain_xml(
        inputs,
        machine="pc",
        volumes={"/pool/root": VolumeRef("p", "root", "qcow2"), "/pool/data": VolumeRef("p", "data", "raw")},
        networks={"uuid-1": "lab"},
        seed="/pool/seed.iso",
    )


def test_everything_a_machine_can_say_is_in_its_xml() -> None:
    assert same(whole(domain(**MACHINE)), WHOLE)


def test_a_uefi_domain_has_its_loader_and_nvram() -> None:
    tree = domain_xml(domain(firmware="/code.fd", nvram={"file": "/vars.fd", "template": "/t.fd"}))
    found = tree.find("os")
    assert found is not None
    golden = """
    <os>
      <type>hvm</type>
      <loader readonly="yes" type="pflash" secure="no">/code.fd</loader><nvram template="/t.fd">/vars.fd</nvram>
    </os>"""
    assert same(found, golden)


@pytest.mark.parametrize(
    ("disk", "kind", "device", "driver", "target"),
    [
        ({"file": "/a.qcow2"}, "file", "disk", "qcow2", "vda"),
        ({"file": "/a.img"}, "file", "disk", "raw", "vda"),
        ({"file": "/a.iso"}, "file", "cdrom", "raw", "hda"),
        ({"blockDevice": "/dev/sdx"}, "block", "disk", "raw", "vda"),
    ],
)
def test_a_disk_that_is_no_volume_says_what_it_is(
    disk: Props, kind: str, device: str, driver: str, target: str
) -> None:
    found = domain_xml(domain(disks=[disk])).find("devices/disk")
    assert found is not None
    drivers, targets = found.find("driver"), found.find("target")
    assert drivers is not None
    assert targets is not None
    assert (found.get("type"), found.get("device")) == (kind, device)
    assert (drivers.get("type"), targets.get("dev")) == (driver, target)


def test_the_28th_disk_is_vdab() -> None:
    tree = domain_xml(domain(disks=[{"file": f"/{number}"} for number in range(28)]))
    assert [target.get("dev") for target in tree.findall("devices/disk/target")][25:] == ["vdz", "vdaa", "vdab"]


def test_what_the_xml_cannot_hold_is_an_error() -> None:
    with pytest.raises(ProviderError, match="disk 0 has none of volumeId, file, blockDevice"):
        domain_xml(domain(disks=[{}]))
    with pytest.raises(ProviderError, match="graphics type sdl is not spice or vnc"):
        domain_xml(domain(graphics={"type": "sdl"}))
    with pytest.raises(ProviderError, match="targetPort x is not a number"):
        domain_xml(domain(consoles=[{"type": "pty", "targetPort": "x"}]))


@pytest.mark.parametrize(
    "arguments",
    [[], ["quiet"], ["console=tty0", "console=ttyS0", "ro", "quiet", "root=/dev/vda", "a=b=c"], ["x=", "y"]],
)
def test_the_programs_command_lines_read_back_as_written(arguments: list[str]) -> None:
    lines = canonical(arguments)
    assert split_command_line(command_line(lines)) == lines


def test_the_stacks_stylesheet_makes_of_it_what_the_design_wants() -> None:
    xslt = stylesheet(
        "domain",
        uuid="6f054409-3acf-48dd-9551-3e72e4701267",
        stack="s",
        node="c1",
        pool="/pool",
        cache="unsafe",
        translations="256",
    )
    text = render(whole(domain(**MACHINE)), {"name": "d", "xml": {"xslt": xslt}})
    tree = etree.fromstring(text)
    assert tree.findtext("uuid") == "6f054409-3acf-48dd-9551-3e72e4701267"
    source = tree.find("devices/disk/source")
    assert source is not None
    assert source.get("file") == "/pool/root"
    assert [disk.get("type") for disk in tree.findall("devices/disk")] == ["file"] * 3
    assert tree.find("devices/graphics") is None
    log = tree.find("devices/console/log")
    assert log is not None
    assert log.get("file") == "/var/log/libvirt/qemu/d-console.log"


def network(**inputs: object) -> Props:
    return check("Network", Network.fields, {"name": "n", **inputs})


@pytest.mark.parametrize(
    ("inputs", "golden"),
    [
        ({}, '<network><name>n</name><forward mode="nat"/><bridge stp="on"/></network>'),
        (
            {
                "mode": "none",
                "bridge": "hb0",
                "mtu": 1450,
                "domain": "lab",
                "addresses": ["10.9.0.0/24"],
                "dhcp": {"enabled": False},
                "dns": {"enabled": False, "localOnly": True},
            },
            """
            <network>
              <name>n</name><bridge name="hb0" stp="on"/><mtu size="1450"/><domain name="lab" localOnly="yes"/>
              <dns enable="no"/><ip family="ipv4" address="10.9.0.1" prefix="24"/>
            </network>""",
        ),
        (
            {"mode": "route", "addresses": ["10.9.0.0/24", "fd00:9::/64"]},
            """
            <network>
              <name>n</name><forward mode="route"/><bridge stp="on"/>
              <ip family="ipv4" address="10.9.0.1" prefix="24">
                <dhcp><range start="10.9.0.2" end="10.9.0.254"/></dhcp>
              </ip>
              <ip family="ipv6" address="fd00:9::1" prefix="64">
                <dhcp><range start="fd00:9::2" end="fd00:9::ffff:ffff:ffff:fffe"/></dhcp>
              </ip>
            </network>""",
        ),
        ({"mode": "open"}, '<network><name>n</name><forward mode="open"/><bridge stp="on"/></network>'),
        (
            {"mode": "bridge", "bridge": "br0"},
            '<network><name>n</name><forward mode="bridge"/><bridge name="br0"/></network>',
        ),
    ],
)
def test_a_network_is_written_as_its_mode_asks(inputs: Props, golden: str) -> None:
    assert same(network_xml(network(**inputs)), golden)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"mode": "vepa"}, "mode vepa is not one of none, nat, route, open, bridge"),
        ({"mode": "bridge"}, "mode bridge needs the name of a bridge"),
        ({"addresses": ["10.9.0.0/30"]}, "the subnet must hold 8 addresses or more"),
        ({"addresses": ["10.9.0/24"]}, "address 10.9.0/24: "),
    ],
)
def test_a_network_that_cannot_be_is_an_error(inputs: Props, message: str) -> None:
    with pytest.raises(ProviderError, match=message):
        network_xml(network(**inputs))


def test_volumes_and_pools_are_written_as_the_plugin_does() -> None:
    golden = """
    <volume>
      <name>v</name><capacity unit="bytes">1024</capacity>
      <target><format type="qcow2"/><permissions><mode>644</mode></permissions></target>
    </volume>"""
    assert same(volume_xml("v", capacity=1024, format_="qcow2"), golden)
    pool = '<pool type="dir"><name>p</name><target><path>/p</path></target></pool>'
    assert same(pool_xml({"name": "p", "target": {"path": "/p"}}), pool)
    with pytest.raises(ProviderError, match=r"target\.path is missing"):
        pool_xml({"name": "p"})


def test_a_seed_holds_what_was_put_into_it() -> None:
    inputs = {"userData": "#cloud-config\n" + "ü" * 5000, "metaData": "instance-id: i\n"}
    image = seed_iso(inputs)
    assert image[0x8028 : 0x8028 + 6] == b"cidata"
    assert seed_files(image) == inputs | {"networkConfig": ""}
    with pytest.raises(ProviderError, match="not a cloud-init seed"):
        seed_files(b"\0" * 100_000)
