"""What a killed create left at a hypervisor is removed by name; what is not there is no error."""

from __future__ import annotations

from pathlib import Path

import pytest

from halab.embedded.provider import Props, Recovers
from tests.engine.private_libvirt import needs_libvirt
from tests.engine.test_libvirt_provider import DOMAIN, NETWORK, POOL, SEED, VOLUME, Driver, fake, host, pool, qemu

__all__ = ["fake", "host", "pool", "qemu"]


@needs_libvirt
def test_a_killed_create_is_taken_back_by_name(qemu: Driver, tmp_path: Path) -> None:
    provider = qemu.provider
    assert isinstance(provider, Recovers)
    asked: dict[str, Props] = {
        POOL: {"name": "p", "type": "dir", "target": {"path": "/var/lib/libvirt/images/p"}},
        VOLUME: {"name": "v", "pool": "p", "size": 1 << 20},
        SEED: {"name": "s", "pool": "p", "userData": "#cloud-config\n"},
        NETWORK: {"name": "n", "mode": "none", "bridge": "halabtb0"},
        DOMAIN: {"name": "d", "memory": 64, "type": "qemu", "running": False, "graphics": {"type": "vnc"}},
    }
    made = {type_: qemu.create(type_, inputs) for type_, inputs in asked.items()}
    for type_, inputs in reversed(asked.items()):
        for _ in range(2):
            provider.take_back(type_, qemu.call, qemu.check(type_, inputs))
        assert qemu.read(type_, made[type_]) is None


MARKED = """
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:template match="node()|@*"><xsl:copy><xsl:apply-templates select="node()|@*"/></xsl:copy></xsl:template>
  <xsl:template match="/domain|/network"><xsl:copy>
    <xsl:apply-templates select="@*|name"/>
    <metadata><halab:owner xmlns:halab="urn:halab:owner" stack="{owner}"/></metadata>
    <xsl:apply-templates select="node()[not(self::name)]"/>
  </xsl:copy></xsl:template>
</xsl:stylesheet>"""


def marked(owner: str) -> Props:
    return {"xml": {"xslt": MARKED.replace("{owner}", owner)}}


@needs_libvirt
@pytest.mark.parametrize("owner", ["another", None])
def test_another_s_object_under_the_name_is_not_taken_back(qemu: Driver, owner: str | None) -> None:
    """A create that was killed before it found out that the name is taken."""
    asked: dict[str, Props] = {
        NETWORK: {"name": "n", "mode": "none"},
        DOMAIN: {"name": "d", "memory": 64, "type": "qemu", "running": False, "graphics": {"type": "vnc"}},
    }
    theirs = marked(owner) if owner else {}
    made = {type_: qemu.create(type_, inputs | theirs) for type_, inputs in asked.items()}
    mine = {NETWORK: asked[NETWORK] | {"bridge": "halabtb1"}, DOMAIN: asked[DOMAIN]}
    for type_, inputs in mine.items():
        qemu.provider.take_back(type_, qemu.call, qemu.check(type_, inputs | marked("me")))
        assert qemu.read(type_, made[type_]) is not None
        qemu.provider.take_back(type_, qemu.call, qemu.check(type_, inputs | theirs))
        assert qemu.read(type_, made[type_]) is None


@needs_libvirt
def test_a_network_on_a_libvirt_that_keeps_no_metadata_is_known_by_its_bridge(qemu: Driver) -> None:
    made = qemu.create(NETWORK, {"name": "n", "mode": "none", "bridge": "halabtb2"})
    inputs = qemu.check(NETWORK, {"name": "n", "mode": "none", "bridge": "halabtb2"} | marked("me"))
    qemu.provider.take_back(NETWORK, qemu.call, inputs)
    assert qemu.read(NETWORK, made) is None


@needs_libvirt
def test_a_pool_on_another_folder_is_not_taken_back(qemu: Driver) -> None:
    made = qemu.create(POOL, {"name": "p", "type": "dir", "target": {"path": "/var/lib/libvirt/images/theirs"}})
    inputs = {"name": "p", "type": "dir", "target": {"path": "/var/lib/libvirt/images/mine"}}
    qemu.provider.take_back(POOL, qemu.call, qemu.check(POOL, inputs))
    assert qemu.read(POOL, made) is not None
    qemu.delete(POOL, made)
