"""The libvirt provider: its rules against libvirt's test driver, its work against a private qemu libvirtd."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from halab.embedded.hypervisor import Hypervisor
from halab.embedded.provider import UNKNOWN, Call, Created, DiffKind, Props, ProviderError, Secret
from halab.embedded.providers import providers
from halab.embedded.providers.libvirt import LibvirtProvider, upload
from tests.engine.private_libvirt import libvirtd, needs_libvirt

libvirt = pytest.importorskip("libvirt")

POOL, VOLUME, NETWORK = "libvirt:index/pool:Pool", "libvirt:index/volume:Volume", "libvirt:index/network:Network"
SEED, DOMAIN = "libvirt:index/cloudInitDisk:CloudInitDisk", "libvirt:index/domain:Domain"


class Driver:
    """What the engine does with a provider, step by step."""

    def __init__(self, uri: str) -> None:
        made = providers(uri)["libvirt"]()
        assert isinstance(made, LibvirtProvider)
        made.configure({})
        self.provider = made
        self.call = Call("urn:pulumi:s::p::t::n", 60, lambda _severity, _line: None, threading.Event())

    def create(self, type_: str, inputs: Props) -> Created:
        return self.provider.create(type_, self.call, self.check(type_, inputs), preview=False)

    def check(self, type_: str, inputs: Props) -> Props:
        return self.provider.check(type_, "logical", None, inputs)

    def diff(self, type_: str, made: Created | Props, inputs: Props) -> Mapping[str, DiffKind]:
        outputs = made.outputs if isinstance(made, Created) else made
        return self.provider.diff(type_, "id", {}, outputs, self.check(type_, inputs)).detailed

    def read(self, type_: str, made: Created) -> Props | None:
        return self.provider.read(type_, self.call, made.id, {}, made.outputs)

    def update(self, type_: str, made: Created, inputs: Props) -> Created:
        checked = self.check(type_, inputs)
        outputs = self.provider.update(type_, self.call, made.id, {}, made.outputs, checked, preview=False)
        return Created(made.id, outputs)

    def delete(self, type_: str, made: Created) -> None:
        self.provider.delete(type_, self.call, made.id, {}, made.outputs)


NODE = """
<node>
  <domain type="test"><name>taken</name><memory>1024</memory><os><type>hvm</type></os></domain>
  <network><name>taken</name><bridge name="virbr9"/></network>
  <pool type="dir"><name>taken</name><target><path>/taken</path></target></pool>
</node>"""


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Driver]:
    """A host of the test driver, in this process's memory, with one thing of each kind that is not ours."""
    (tmp_path / "node.xml").write_text(NODE)
    driver = Driver(f"test://{tmp_path}/node.xml")
    yield driver
    driver.provider.close()


# The rules


def test_defaults_are_filled_in_and_named(fake: Driver) -> None:
    checked = fake.check(DOMAIN, {"name": "d", "memory": 1024.0, "graphics": {"type": "vnc"}})
    assert (checked["type"], checked["vcpu"], checked["memory"], checked["running"]) == ("kvm", 1, 1024, True)
    assert checked["graphics"]["listenType"] == "none"
    assert checked["__defaults"] == ["coreosIgnition", "fwCfgName", "qemuAgent", "running", "type", "vcpu"]
    assert checked["graphics"]["__defaults"] == ["autoport", "listenAddress", "listenType"]


def test_a_name_is_made_up_once(fake: Driver) -> None:
    first = fake.provider.check(VOLUME, "logical", None, {"size": 1})
    assert first["name"].startswith("logical-")
    assert fake.provider.check(VOLUME, "logical", first, {"size": 2})["name"] == first["name"]
    outputs = {"name": first["name"], "pool": "default", "size": 1}
    assert not fake.provider.diff(VOLUME, "id", first, outputs, first | {"size": 2}).delete_before_replace
    named = fake.check(VOLUME, {"name": "v", "size": 2})
    assert fake.provider.diff(VOLUME, "id", first, outputs, named).delete_before_replace


@pytest.mark.parametrize(
    ("type_", "inputs", "message"),
    [
        (DOMAIN, {"name": "d", "tpm": {}}, "does not implement input tpm: use --engine cli"),
        (DOMAIN, {"name": "d", "networkInterfaces": [{"addresses": []}]}, r"networkInterfaces\[0\]\.addresses"),
        (DOMAIN, {"name": "d", "memory": "much"}, "memory must be int, not str"),
        (POOL, {"name": "p"}, "input type is missing"),
        ("libvirt:index/ignition:Ignition", {"name": "i"}, "does not implement libvirt:index/ignition:Ignition"),
    ],
)
def test_a_bad_input_is_an_error_that_names_it(fake: Driver, type_: str, inputs: Props, message: str) -> None:
    with pytest.raises(ProviderError, match=message):
        fake.check(type_, inputs)


def test_a_preview_touches_nothing_and_marks_what_it_cannot_know() -> None:
    driver = Driver("qemu+unix:///system?socket=/nonexistent")
    inputs = driver.check(DOMAIN, {"name": "d", "disks": [{"volumeId": UNKNOWN}]})
    made = driver.provider.create(DOMAIN, driver.call, inputs, preview=True)
    assert (made.id, made.outputs["machine"], made.outputs["name"]) == ("", UNKNOWN, "d")
    with pytest.raises(ProviderError, match=r"libvirt at qemu\+unix.* does not answer: .*: run \./halab doctor"):
        driver.provider.create(DOMAIN, driver.call, inputs, preview=False)


DOMAIN_STATE: Props = {
    "name": "d",
    "type": "kvm",
    "vcpu": 1,
    "memory": 512,
    "running": True,
    "fwCfgName": "opt/com.coreos/config",
    "machine": "pc",
    "arch": "x86_64",
    "kernel": "/k1",
    "cloudinit": "/seed;1",
    "autostart": False,
    "cmdlines": [{"console": "ttyS0"}, {"_": "quiet"}],
    "disks": [{"volumeId": "/v1", "scsi": False}],
    "networkInterfaces": [{"networkId": "n1", "networkName": "net", "mac": "52:54:00:AA:00:01", "addresses": []}],
}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, {}),
        ({"machine": "pc"}, {}),
        ({"machine": "q35"}, {"machine": DiffKind.UPDATE_REPLACE}),
        ({"memory": 1024}, {"memory": DiffKind.UPDATE_REPLACE}),
        ({"memory": UNKNOWN}, {"memory": DiffKind.UPDATE_REPLACE}),
        ({"kernel": "/k2"}, {"kernel": DiffKind.UPDATE_REPLACE}),
        ({"kernel": None}, {"kernel": DiffKind.DELETE_REPLACE}),
        ({"cmdlines": [{"_": "quiet", "console": "ttyS0"}]}, {}),
        ({"cmdlines": [{"console": "tty0"}]}, {"cmdlines": DiffKind.UPDATE_REPLACE}),
        ({"cloudinit": "/seed;2"}, {"cloudinit": DiffKind.UPDATE}),
        ({"autostart": True}, {"autostart": DiffKind.UPDATE}),
        ({"running": False}, {"running": DiffKind.UPDATE}),
        ({"xml": {"xslt": "<a/>"}}, {"xml.xslt": DiffKind.ADD_REPLACE}),
        ({"disks": [{"volumeId": "/v2"}]}, {"disks[0].volumeId": DiffKind.UPDATE_REPLACE}),
        ({"disks": [{"volumeId": "/v1"}, {"volumeId": "/v2"}]}, {"disks[1]": DiffKind.ADD_REPLACE}),
        ({"disks": []}, {"disks[0]": DiffKind.DELETE_REPLACE}),
        (
            {"networkInterfaces": [{"networkId": "n1", "mac": "52:54:00:aa:00:02"}]},
            {"networkInterfaces[0].mac": DiffKind.UPDATE_REPLACE},
        ),
    ],
)
def test_a_domain_is_replaced_or_updated_by_the_rules(fake: Driver, changed: Props, expected: Props) -> None:
    inputs: Props = {
        "name": "d",
        "kernel": "/k1",
        "cloudinit": "/seed;1",
        "cmdlines": [{"console": "ttyS0"}, {"_": "quiet"}],
        "disks": [{"volumeId": "/v1"}],
        "networkInterfaces": [{"networkId": "n1", "mac": "52:54:00:aa:00:01"}],
    }
    assert fake.diff(DOMAIN, DOMAIN_STATE, inputs | changed) == expected


def test_secrecy_alone_is_no_change_of_a_seed(fake: Driver) -> None:
    old: Props = {"name": "s", "pool": "p", "userData": Secret("#cloud-config")}
    new: Props = {"name": "s", "pool": "p", "userData": "#cloud-config"}
    assert fake.provider.diff(SEED, "id", {}, old, new).detailed == {}
    changed = fake.provider.diff(SEED, "id", {}, old, new | {"userData": Secret("other")}).detailed
    assert changed == {"userData": DiffKind.UPDATE_REPLACE}


# Against the test driver


FILLING = {"allocation": 0, "available": 0}  # moves with the pool's contents


def a_network(**more: Any) -> Props:
    return {"name": "n", "mode": "none", "bridge": "hb0", "addresses": ["10.9.0.0/24"], **more}


def a_domain(**more: Any) -> Props:
    return {"name": "d", "type": "test", "memory": 64, **more}


def test_what_was_made_reads_back_unchanged_and_goes_without_trace(fake: Driver) -> None:
    pool_inputs = {"name": "p", "type": "dir", "target": {"path": "/nowhere/p"}}
    pool = fake.create(POOL, pool_inputs)
    volume_inputs = {"name": "v", "pool": "p", "size": 1 << 30}
    volume = fake.create(VOLUME, volume_inputs)
    network_inputs = a_network(mtu=1450, autostart=True, dhcp={"enabled": False}, dns={"enabled": False})
    network = fake.create(NETWORK, network_inputs)
    domain_inputs = a_domain(
        disks=[{"volumeId": volume.id}],
        networkInterfaces=[{"networkId": network.id, "mac": "52:54:00:aa:bb:01"}],
        consoles=[{"type": "pty", "targetType": "serial", "targetPort": "0"}],
    )
    domain = fake.create(DOMAIN, domain_inputs)
    made = [
        (DOMAIN, domain, domain_inputs),
        (NETWORK, network, network_inputs),
        (VOLUME, volume, volume_inputs),
        (POOL, pool, pool_inputs),
    ]
    assert domain.outputs["networkInterfaces"][0]["networkName"] == "n"
    for type_, one, inputs in made:
        live = fake.read(type_, one)
        assert live is not None
        assert live | FILLING == one.outputs | FILLING
        assert fake.diff(type_, one, inputs) == {}
    for type_, one, _inputs in made:
        fake.delete(type_, one)
        assert fake.read(type_, one) is None
        fake.delete(type_, one)


@pytest.mark.parametrize(
    ("type_", "inputs"),
    [
        (POOL, {"name": "taken", "type": "dir", "target": {"path": "/x"}}),
        (NETWORK, {"name": "taken"}),
        (DOMAIN, {"name": "taken", "type": "test"}),
    ],
)
def test_what_exists_already_is_never_adopted(fake: Driver, type_: str, inputs: Props) -> None:
    with pytest.raises(ProviderError, match=r"taken: .* exists at test:.* and is not this stack's"):
        fake.create(type_, inputs)


def test_a_pool_that_still_holds_something_stays(fake: Driver) -> None:
    pool = fake.create(POOL, {"name": "p", "type": "dir", "target": {"path": "/nowhere/p"}})
    volume = fake.create(VOLUME, {"name": "foreign", "pool": "p", "size": 1})
    with pytest.raises(ProviderError, match="Pool p: still holds foreign"):
        fake.delete(POOL, pool)
    fake.delete(VOLUME, volume)
    fake.delete(POOL, pool)


def test_a_domain_is_powered_as_it_is_told(fake: Driver) -> None:
    domain = fake.create(DOMAIN, a_domain(running=False))
    assert domain.outputs["running"] is False
    domain = fake.update(DOMAIN, domain, a_domain())
    live = fake.read(DOMAIN, domain)
    assert live is not None
    assert live["running"] is True
    domain = fake.update(DOMAIN, domain, a_domain(running=False))
    live = fake.read(DOMAIN, domain)
    assert live is not None
    assert live["running"] is False
    assert fake.diff(DOMAIN, live, a_domain()) == {"running": DiffKind.UPDATE}


def test_an_overlay_smaller_than_its_base_is_refused(fake: Driver) -> None:
    base = fake.create(VOLUME, {"name": "base", "pool": "taken", "size": 1 << 20})
    with pytest.raises(ProviderError, match="size 1024 is below its base's 1048576 bytes"):
        fake.create(VOLUME, {"name": "v", "pool": "taken", "size": 1024, "baseVolumeId": base.id})
    overlay = fake.create(VOLUME, {"name": "v", "pool": "taken", "baseVolumeName": "base"})
    assert overlay.outputs["size"] == 1 << 20
    with pytest.raises(ProviderError, match="its base volume /gone is not at test:"):
        fake.create(VOLUME, {"name": "w", "pool": "taken", "baseVolumeId": "/gone"})


def test_a_stylesheet_changes_what_is_defined(fake: Driver) -> None:
    xslt = """
    <xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
      <xsl:template match="node()|@*"><xsl:copy><xsl:apply-templates select="node()|@*"/></xsl:copy></xsl:template>
      <xsl:template match="/domain/vcpu"><vcpu>3</vcpu></xsl:template>
    </xsl:stylesheet>"""
    assert fake.create(DOMAIN, a_domain(xml={"xslt": xslt})).outputs["vcpu"] == 3
    with pytest.raises(ProviderError, match=r"e: xml\.xslt: "):
        fake.create(DOMAIN, a_domain(name="e", xml={"xslt": "<xsl:stylesheet"}))


# Against a private qemu libvirtd


@pytest.fixture(scope="module")
def host() -> Iterator[Hypervisor]:
    with libvirtd("prov") as made:
        yield made


@pytest.fixture
def qemu(host: Hypervisor) -> Iterator[Driver]:
    """A pool `p` on a qemu libvirtd that is found empty and left empty."""
    driver = Driver(host.uri)
    yield driver
    driver.provider.close()
    connection = libvirt.open(host.uri)
    left = [
        one.name()
        for listed in (connection.listAllDomains(), connection.listAllNetworks(), connection.listAllStoragePools())
        for one in listed
    ]
    connection.close()
    assert left == []
    assert list(host.paths.pool.iterdir()) == []


@pytest.fixture
def pool(qemu: Driver) -> Iterator[Created]:
    made = qemu.create(POOL, {"name": "p", "type": "dir", "target": {"path": "/var/lib/libvirt/images/p"}})
    yield made
    qemu.delete(POOL, made)


def image(path: Path, format_: str, size: str, content: bytes = b"") -> Path:
    raw = path.with_suffix(".raw")
    subprocess.run(["qemu-img", "create", "-q", "-f", "raw", raw, size], check=True)
    with raw.open("r+b") as file:
        for offset in range(0, len(content), 1 << 16):
            file.seek(3 * offset)
            file.write(content[offset : offset + (1 << 16)])
    if format_ == "raw":
        return raw
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", format_, raw, path], check=True)
    return path


@needs_libvirt
def test_a_machine_is_built_read_changed_and_removed(
    qemu: Driver, pool: Created, host: Hypervisor, tmp_path: Path
) -> None:
    disk = image(tmp_path / "base.qcow2", "qcow2", "64M", random.Random(1).randbytes(1 << 20))
    base = qemu.create(VOLUME, {"name": "base.qcow2", "pool": "p", "source": str(disk), "format": "qcow2"})
    assert base.outputs["size"] == 64 << 20
    overlay_inputs = {"name": "root.qcow2", "pool": "p", "baseVolumeId": base.id, "size": 1 << 30}
    overlay = qemu.create(VOLUME, overlay_inputs)
    seed_inputs = {"name": "seed.iso", "pool": "p", "userData": "#cloud-config\n", "metaData": "instance-id: i\n"}
    seed = qemu.create(SEED, seed_inputs)
    network_inputs = a_network(bridge="hlprov0", autostart=True, dhcp={"enabled": False}, dns={"enabled": False})
    network = qemu.create(NETWORK, network_inputs)
    domain_inputs = a_domain(
        type="qemu",
        machine="pc",
        cloudinit=seed.id,
        disks=[{"volumeId": overlay.id}],
        networkInterfaces=[{"networkId": network.id, "mac": "52:54:00:aa:bb:01"}],
        consoles=[{"type": "pty", "targetType": "serial", "targetPort": "0"}],
        graphics={"type": "vnc", "listenType": "address"},
    )
    domain = qemu.create(DOMAIN, domain_inputs)
    made = [
        (DOMAIN, domain, domain_inputs),
        (NETWORK, network, network_inputs),
        (SEED, seed, seed_inputs),
        (VOLUME, overlay, overlay_inputs),
        (VOLUME, base, {"name": "base.qcow2", "pool": "p", "source": str(disk), "format": "qcow2"}),
    ]
    for type_, one, inputs in made:
        assert qemu.read(type_, one) == one.outputs
        assert qemu.diff(type_, one, inputs) == {}
    assert (domain.outputs["machine"], domain.outputs["arch"], domain.outputs["running"]) == ("pc", "x86_64", True)
    assert (
        "10.9.0.1/24"
        in subprocess.run(
            [*host.inside(), "ip", "-brief", "address", "show", "hlprov0"], check=True, capture_output=True, text=True
        ).stdout
    )
    chain = host.paths.pool / "p"
    subprocess.run(["cmp", disk, chain / "base.qcow2"], check=True)
    assert (chain / "seed.iso").stat().st_mode & 0o777 == 0o600

    connection = libvirt.open(host.uri)
    connection.lookupByName("d").destroy()
    off = qemu.read(DOMAIN, domain)
    assert off is not None
    assert off["running"] is False
    second = qemu.create(SEED, seed_inputs | {"name": "seed2.iso"})
    domain = qemu.update(DOMAIN, Created(domain.id, off), domain_inputs | {"cloudinit": second.id, "autostart": True})
    assert (domain.outputs["running"], domain.outputs["autostart"]) == (True, True)
    assert "seed2.iso" in connection.lookupByName("d").XMLDesc()
    connection.close()

    for type_, one in ((DOMAIN, domain), *((type_, one) for type_, one, _ in made[1:]), (SEED, second)):
        qemu.delete(type_, one)
        assert qemu.read(type_, one) is None
    assert list(chain.iterdir()) == []


@needs_libvirt
@pytest.mark.parametrize("way", ["copied", "streamed"])
@pytest.mark.parametrize("format_", ["raw", "qcow2"])
def test_an_upload_is_the_file_byte_by_byte_and_as_sparse(
    qemu: Driver,
    pool: Created,
    host: Hypervisor,
    tmp_path: Path,
    format_: str,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = []
    streamed = upload._streamed

    def noted(*args: Any) -> None:
        streams.append(args)
        streamed(*args)

    monkeypatch.setattr(upload, "_streamed", noted)
    if way == "streamed":
        monkeypatch.setattr(upload, "daemon_view", lambda _uri, _path: None)
    disk = image(tmp_path / "disk.qcow2", format_, "200M", random.Random(2).randbytes(5 << 20))
    volume = qemu.create(VOLUME, {"name": "v", "pool": "p", "source": disk.as_uri(), "format": format_})
    copy = host.paths.pool / "p" / "v"
    subprocess.run(["cmp", disk, copy], check=True)
    assert bool(streams) == (way == "streamed")
    assert copy.stat().st_size == disk.stat().st_size
    assert copy.stat().st_blocks <= disk.stat().st_blocks * 1.1
    assert (volume.outputs["format"], volume.outputs["size"]) == (format_, 200 << 20)
    qemu.delete(VOLUME, volume)


@needs_libvirt
def test_many_volumes_are_made_in_one_pool_at_once(qemu: Driver, pool: Created, tmp_path: Path) -> None:
    disk = image(tmp_path / "disk.qcow2", "qcow2", "100M", random.Random(3).randbytes(20 << 20))
    base = qemu.create(VOLUME, {"name": "base", "pool": "p", "source": str(disk)})

    def one(number: int) -> Created:
        if number % 3 == 0:
            return qemu.create(VOLUME, {"name": f"v{number}", "pool": "p", "source": str(disk)})
        if number % 3 == 1:
            return qemu.create(SEED, {"name": f"v{number}", "pool": "p", "userData": str(number)})
        return qemu.create(VOLUME, {"name": f"v{number}", "pool": "p", "baseVolumeId": base.id})

    with ThreadPoolExecutor(12) as threads:
        made = list(threads.map(one, range(12)))
        for number, volume in enumerate(made):
            live = qemu.read(SEED if number % 3 == 1 else VOLUME, volume)
            assert live == volume.outputs
        list(threads.map(lambda pair: qemu.delete(SEED if pair[0] % 3 == 1 else VOLUME, pair[1]), enumerate(made)))
    qemu.delete(VOLUME, base)


@needs_libvirt
@pytest.mark.parametrize("way", ["copied", "streamed"])
def test_a_half_uploaded_volume_is_deleted(
    qemu: Driver, pool: Created, host: Hypervisor, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "streamed":
        monkeypatch.setattr(upload, "daemon_view", lambda _uri, _path: None)
    disk = image(tmp_path / "disk.qcow2", "raw", "64M", b"x" * (10 << 20))
    qemu.call.cancelled.set()
    with pytest.raises(ProviderError, match="Volume v: upload cancelled"):
        qemu.create(VOLUME, {"name": "v", "pool": "p", "source": str(disk), "format": "raw"})
    assert list((host.paths.pool / "p").iterdir()) == []


@needs_libvirt
def test_a_volume_that_exists_already_is_never_adopted(qemu: Driver, pool: Created) -> None:
    volume = qemu.create(VOLUME, {"name": "v", "pool": "p", "size": 1 << 20})
    for type_ in (VOLUME, SEED):
        with pytest.raises(ProviderError, match="has a volume of that name that is not this stack's"):
            qemu.create(type_, {"name": "v", "pool": "p"})
    assert qemu.read(VOLUME, volume) == volume.outputs
    qemu.delete(VOLUME, volume)


@needs_libvirt
def test_a_folder_that_holds_files_already_is_no_pool_and_keeps_them(qemu: Driver, host: Hypervisor) -> None:
    theirs = host.paths.pool / "p" / "thesis.qcow2"
    theirs.parent.mkdir()
    theirs.write_text("years of work")
    with pytest.raises(ProviderError, match=r"Pool p: its folder .*/p at .* holds thesis\.qcow2 already"):
        qemu.create(POOL, {"name": "p", "type": "dir", "target": {"path": "/var/lib/libvirt/images/p"}})
    assert theirs.read_text() == "years of work"
    theirs.unlink()
    theirs.parent.rmdir()


@needs_libvirt
def test_a_domain_that_does_not_start_is_undefined_again(qemu: Driver, pool: Created, tmp_path: Path) -> None:
    junk = tmp_path / "kernel"
    junk.write_bytes(b"not a kernel" * 1000)
    kernel = qemu.create(VOLUME, {"name": "kernel", "pool": "p", "source": str(junk), "format": "raw"})
    with pytest.raises(ProviderError, match="Domain d does not start: "):
        qemu.create(DOMAIN, a_domain(type="qemu", kernel=kernel.id, graphics={"type": "vnc"}))
    qemu.delete(VOLUME, kernel)


@needs_libvirt
def test_a_network_that_does_not_start_is_undefined_again(qemu: Driver) -> None:
    first = qemu.create(NETWORK, a_network(bridge="hlprov1"))
    with pytest.raises(ProviderError, match="Network m: "):
        qemu.create(NETWORK, a_network(name="m", bridge="hlprov2"))
    qemu.delete(NETWORK, first)


@needs_libvirt
def test_a_file_removed_behind_libvirts_back_can_be_made_again(qemu: Driver, pool: Created, host: Hypervisor) -> None:
    volume = qemu.create(VOLUME, {"name": "v", "pool": "p", "size": 1 << 20})
    (host.paths.pool / "p" / "v").unlink()
    again = qemu.create(VOLUME, {"name": "v", "pool": "p", "size": 1 << 20})
    assert again.id == volume.id
    qemu.delete(VOLUME, again)


@needs_libvirt
def test_an_upload_of_half_a_gigabyte_takes_seconds(qemu: Driver, pool: Created, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    block = random.Random(4).randbytes(1 << 20)
    with disk.open("wb") as file:
        for _ in range(512):
            file.write(block)
    started = time.process_time()
    volume = qemu.create(VOLUME, {"name": "v", "pool": "p", "source": str(disk), "format": "raw"})
    took = time.process_time() - started  # of CPU: a busy disk is not the upload's fault
    qemu.delete(VOLUME, volume)
    assert took < 15
