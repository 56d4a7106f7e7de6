"""`down` on a libvirt that is not halab's own, with the state lost: what carries the stack's names goes, no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import libvirt  # type: ignore[import-untyped]
import pytest

from components.topology import derive
from components.variant import load
from halab.actions import down
from halab.embedded.hypervisor import Hypervisor
from halab.stacks import objects
from halab.workspace import Workspace
from tests.engine.private_libvirt import libvirtd, needs_libvirt

ROOT = Path(__file__).parents[2]
pytestmark = needs_libvirt


@pytest.fixture
def hypervisor() -> Iterator[Hypervisor]:
    """A private libvirtd in the place of the system's."""
    with libvirtd("host") as made:
        yield made


def owner(name: str) -> str:
    return f"<metadata><halab:owner xmlns:halab='urn:halab:owner' stack='{name}' node='n'/></metadata>"


def define(workspace: Workspace, uri: str, mark: str) -> None:
    """One domain, one network, and the pool with a volume, named as the stack's own; `mark` is whose they are."""
    topology = workspace.topology
    connection = libvirt.open(uri)
    connection.defineXML(
        f"<domain type='qemu'><name>{topology.nodes[0].domain}</name>{mark}<memory unit='MiB'>16</memory>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
    )
    network = topology.cloud
    connection.networkDefineXML(
        f"<network><name>{network.name}</name>{mark}<bridge name='{network.bridge}'/><dns enable='no'/></network>"
    ).create()
    pool = connection.storagePoolDefineXML(
        f"<pool type='dir'><name>{topology.prefix}</name>"
        f"<target><path>/var/lib/libvirt/images/{topology.prefix}</path></target></pool>"
    )
    pool.build()
    pool.create()
    volume(connection, topology.prefix, f"{topology.prefix}-root.qcow2")
    connection.close()


def volume(connection: libvirt.virConnect, pool: str, name: str) -> None:
    text = f"<volume><name>{name}</name><capacity unit='MiB'>1</capacity></volume>"
    connection.storagePoolLookupByName(pool).createXML(text)


def workspace_of(name: str, hypervisor: Hypervisor) -> Workspace:
    stack = replace(load(ROOT, "collapsed"), name=name)
    return Workspace(ROOT, derive(stack), hypervisor.paths.root.parent.parent)


def test_only_what_carries_this_stack_s_names_is_removed(hypervisor: Hypervisor) -> None:
    mine, other = (workspace_of(name, hypervisor) for name in ("mine", "mine-2"))
    for workspace in (mine, other):
        define(workspace, hypervisor.uri, owner(workspace.stack))
    before = objects.named(other.topology, hypervisor.uri)
    assert sorted(one.kind for one in before) == ["domain", "network", "pool", "volume"]
    assert not any(one.stranger for one in before)
    assert objects.remove(hypervisor.uri, objects.named(mine.topology, hypervisor.uri)) == []
    assert objects.named(mine.topology, hypervisor.uri) == []
    assert objects.named(other.topology, hypervisor.uri) == before
    assert not (hypervisor.paths.pool / mine.topology.prefix).exists()


@pytest.mark.parametrize(("mark", "seen"), [("", "without halab's mark"), (owner("theirs"), "of stack theirs")])
def test_what_has_the_names_and_another_s_mark_is_left_and_named(hypervisor: Hypervisor, mark: str, seen: str) -> None:
    mine = workspace_of("mine", hypervisor)
    topology, connection = mine.topology, libvirt.open(hypervisor.uri)
    connection.defineXML(
        f"<domain type='qemu'><name>{topology.nodes[0].domain}</name>{mark}<memory unit='MiB'>16</memory>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
    )
    connection.networkDefineXML(
        f"<network><name>{topology.cloud.name}</name>{mark}<bridge name='theirs0'/><dns enable='no'/></network>"
    )
    connection.storagePoolDefineXML(
        f"<pool type='dir'><name>{topology.prefix}</name><target><path>/var/lib/libvirt/images/t</path></target></pool>"
    )
    found = objects.named(topology, hypervisor.uri)
    assert {one.kind: one.stranger for one in found} == {
        "domain": seen,
        "network": seen,
        "pool": "its folder is /var/lib/libvirt/images/t",
    }
    assert objects.remove(hypervisor.uri, found) == []
    assert objects.named(topology, hypervisor.uri) == found
    connection.close()


def test_a_network_that_an_old_libvirt_kept_without_its_mark_is_known_by_its_bridge(hypervisor: Hypervisor) -> None:
    mine = workspace_of("mine", hypervisor)
    connection = libvirt.open(hypervisor.uri)
    network = mine.topology.cloud
    connection.networkDefineXML(
        f"<network><name>{network.name}</name><bridge name='{network.bridge}'/><dns enable='no'/></network>"
    )
    connection.close()
    (found,) = objects.named(mine.topology, hypervisor.uri)
    assert not found.stranger


def test_a_file_that_somebody_put_into_the_stack_s_pool_stays_with_the_pool(hypervisor: Hypervisor) -> None:
    mine = workspace_of("mine", hypervisor)
    define(mine, hypervisor.uri, owner("mine"))
    connection = libvirt.open(hypervisor.uri)
    volume(connection, mine.topology.prefix, "thesis.qcow2")
    connection.close()
    (problem,) = objects.remove(hypervisor.uri, objects.named(mine.topology, hypervisor.uri))
    assert "still holds thesis.qcow2" in problem
    left = objects.named(mine.topology, hypervisor.uri)
    assert [str(one) for one in left] == ["pool halab-mine", "volume thesis.qcow2 (put there by somebody)"]
    assert (hypervisor.paths.pool / "halab-mine" / "thesis.qcow2").exists()


def test_a_down_without_a_state_leaves_what_is_another_s_and_says_so(
    hypervisor: Hypervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = workspace_of("mine", hypervisor)
    define(mine, hypervisor.uri, owner("mine"))
    connection = libvirt.open(hypervisor.uri)
    theirs = mine.topology.nodes[1].domain
    connection.defineXML(
        f"<domain type='qemu'><name>{theirs}</name><memory unit='MiB'>16</memory>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
    )
    mine.note(hypervisor=hypervisor.uri)
    assert down.run(mine, verbose=False, as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["left"] == []
    assert said["not_ours"] == [f"domain {theirs} (without halab's mark)"]
    assert [domain.name() for domain in connection.listAllDomains()] == [theirs]
    connection.close()
