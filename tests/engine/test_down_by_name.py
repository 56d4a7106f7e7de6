"""`down` on a libvirt that is not halab's own, with the state lost: what carries the stack's names goes, no more."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import libvirt  # type: ignore[import-untyped]
import pytest

from components.topology import derive
from components.variant import load
from halab.actions import down
from halab.embedded.hypervisor import Hypervisor
from halab.host.install import exists
from halab.host.requirements import Need, missing
from halab.workspace import Workspace

ROOT = Path(__file__).parents[2]
LACKING = [one.name for one in missing(exists, [Need.ALWAYS, Need.EMBEDDED])]
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or bool(LACKING), reason=f"needs root and what `halab doctor` installs; missing: {LACKING}"
)


@pytest.fixture
def hypervisor() -> Iterator[Hypervisor]:
    """A private libvirtd in the place of the system's."""
    with tempfile.TemporaryDirectory(prefix="hl") as folder:
        made = Hypervisor("host", Path(folder), kvm=False)
        try:
            made.start()
            yield made
        finally:
            made.remove()


def objects(workspace: Workspace, uri: str) -> None:
    """One domain, one network, and the pool with a volume, named as the stack's own."""
    topology = workspace.topology
    connection = libvirt.open(uri)
    connection.defineXML(
        f"<domain type='qemu'><name>{topology.nodes[0].domain}</name><memory unit='MiB'>16</memory>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
    )
    network = topology.cloud
    connection.networkDefineXML(
        f"<network><name>{network.name}</name><bridge name='{network.bridge}'/><dns enable='no'/></network>"
    ).create()
    pool = connection.storagePoolDefineXML(
        f"<pool type='dir'><name>{topology.prefix}</name>"
        f"<target><path>/var/lib/libvirt/images/{topology.prefix}</path></target></pool>"
    )
    pool.build()
    pool.create()
    pool.createXML("<volume><name>root.qcow2</name><capacity unit='MiB'>1</capacity></volume>")
    connection.close()


def test_only_what_carries_this_stack_s_names_is_removed(hypervisor: Hypervisor) -> None:
    stack = load(ROOT, "collapsed")
    mine, other = (
        Workspace(ROOT, derive(replace(stack, name=name)), hypervisor.paths.root.parent.parent)
        for name in ("mine", "mine-2")
    )
    for workspace in (mine, other):
        objects(workspace, hypervisor.uri)
    before = list(down._named(other, hypervisor.uri))
    assert sorted(line.split(" ")[0] for line in before) == ["domain", "network", "pool", "volume"]
    assert down._remove_by_name(mine, hypervisor.uri) == []
    assert list(down._named(mine, hypervisor.uri)) == []
    assert list(down._named(other, hypervisor.uri)) == before
