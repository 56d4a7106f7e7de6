"""What stands against an up on a libvirt that others use too: a private libvirtd in the place of the system's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import libvirt  # type: ignore[import-untyped]
import pytest

from components.topology import derive
from components.variant import load
from halab.embedded.hypervisor import Hypervisor
from halab.errors import RefusedError
from halab.stacks import admission
from halab.workspace import Workspace
from tests.engine.private_libvirt import libvirtd, needs_libvirt

ROOT = Path(__file__).parents[2]
pytestmark = needs_libvirt


@pytest.fixture(scope="module")
def host() -> Iterator[Hypervisor]:
    with libvirtd("host") as made:
        yield made


@pytest.fixture
def connection(host: Hypervisor) -> Iterator[libvirt.virConnect]:
    found = libvirt.open(host.uri)
    yield found
    for network in found.listAllNetworks():
        if network.isActive():
            network.destroy()
        network.undefine()
    for domain in found.listAllDomains():
        domain.undefine()
    for pool in found.listAllStoragePools():
        pool.undefine()
    found.close()


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A stack that was never up, on a host with memory and disk for all."""
    monkeypatch.setattr("halab.stacks.host.memory", lambda: 1 << 20)
    monkeypatch.setattr("halab.stacks.host.routes", list)
    return Workspace(ROOT, derive(replace(load(ROOT, "collapsed"), name="mine")), tmp_path)


def define_network(connection: libvirt.virConnect, name: str, bridge: str, rest: str) -> libvirt.virNetwork:
    text = f"<network><name>{name}</name><bridge name='{bridge}'/><dns enable='no'/>{rest}</network>"
    return connection.networkDefineXML(text)


def clashes(workspace: Workspace, host: Hypervisor) -> tuple[str, ...]:
    return admission.look(workspace, host.uri, emulated=True).clashes


def test_on_an_empty_libvirt_nothing_is_in_the_way(
    mine: Workspace, host: Hypervisor, connection: libvirt.virConnect
) -> None:
    assert clashes(mine, host) == ()


def test_a_network_of_libvirt_s_own_is_in_the_way_also_while_it_is_off(
    mine: Workspace, host: Hypervisor, connection: libvirt.virConnect
) -> None:
    cloud = mine.topology.cloud
    define_network(connection, "lab", "virbr77", f"<ip address='{cloud.cidr[9]}' prefix='28'/>")
    (line,) = clashes(mine, host)
    assert line.startswith(f"networks.cloud: '{cloud.cidr}': overlaps ")
    assert line.endswith("of libvirt's network lab")


def test_a_bridge_of_the_stack_s_name_is_in_the_way(
    mine: Workspace, host: Hypervisor, connection: libvirt.virConnect
) -> None:
    define_network(connection, "lab", mine.topology.outer.bridge, "<ip address='192.168.99.1' prefix='24'/>")
    (line,) = clashes(mine, host)
    assert f"its bridge {mine.topology.outer.bridge} is that of 192.168.99.0/24 of libvirt's network lab" in line


def test_a_stranger_of_the_stack_s_names_is_in_the_way_and_named(
    mine: Workspace, host: Hypervisor, connection: libvirt.virConnect
) -> None:
    connection.defineXML(
        f"<domain type='qemu'><name>{mine.topology.nodes[0].domain}</name><memory unit='MiB'>16</memory>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
    )
    (line,) = clashes(mine, host)
    assert line.startswith(f"domain {mine.topology.nodes[0].domain}: exists on {host.uri} and is not this stack's")


def test_the_stack_s_own_are_in_the_way_only_while_their_state_is_lost(
    mine: Workspace, host: Hypervisor, connection: libvirt.virConnect
) -> None:
    cloud = mine.topology.cloud
    owner = "<metadata><halab:owner xmlns:halab='urn:halab:owner' stack='mine'/></metadata>"
    address = f"<ip address='{cloud.host.ip}' prefix='{cloud.cidr.prefixlen}'/>"
    define_network(connection, cloud.name, cloud.bridge, owner + address)
    exists = f"network {cloud.name}: exists on {host.uri} as this stack's, "
    (line,) = clashes(mine, host)
    assert line.startswith(f"{exists}of which {mine.state} knows nothing: another user's")
    mine.note(hypervisor=host.uri)
    (line,) = clashes(mine, host)
    assert line == f"{exists}whose state is lost: ./halab down --stack mine removes it"
    mine.checkpoint.parent.mkdir(parents=True)
    mine.checkpoint.write_text("{}")
    assert clashes(mine, host) == ()


def test_another_stack_that_is_up_there_is_in_the_way_and_told_once(
    mine: Workspace, host: Hypervisor, connection: libvirt.virConnect
) -> None:
    other = Workspace(ROOT, derive(replace(load(ROOT, "collapsed"), name="other")), mine.state)
    described = (ROOT / "stacks" / "Pulumi.collapsed.yaml").read_text()
    networks = f"    networks: {{cloud: {mine.topology.cloud.cidr}}}\n"
    other.note(hypervisor=host.uri)
    other.description.write_text(described + networks)
    bridge = Workspace.standing(ROOT, "other", mine.state).topology.cloud.bridge
    cloud = mine.topology.cloud
    define_network(connection, "halab-other-cloud", bridge, f"<ip address='{cloud.host.ip}' prefix='22'/>")
    assert clashes(mine, host) == (f"networks.cloud: '{cloud.cidr}': overlaps {cloud.cidr} of stack other",)


def test_where_no_libvirt_answers_nothing_can_come_up(mine: Workspace) -> None:
    with pytest.raises(RefusedError, match=r"mine: libvirt at qemu.* does not answer: .*doctor; nothing was created"):
        admission.refuse(mine, "qemu+unix:///system?socket=/nonexistent", emulated=True, overcommit=False)


def test_an_up_that_meets_a_network_is_refused_at_once_with_one_that_is_free(
    host: Hypervisor, connection: libvirt.virConnect, tmp_path: Path
) -> None:
    """The command itself, whose stack file names the libvirt."""
    project = tmp_path / "project"
    (project / "stacks").mkdir(parents=True)
    (project / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text())
    described = (ROOT / "stacks" / "Pulumi.collapsed.yaml").read_text()
    (project / "stacks" / "Pulumi.mine.yaml").write_text(f"{described}    hypervisor: {{uri: '{host.uri}'}}\n")
    cloud = derive(replace(load(ROOT, "collapsed"), name="mine")).cloud
    define_network(connection, "lab", "virbr77", f"<ip address='{cloud.host.ip}' prefix='22'/>").create()
    environment = {**os.environ, "HALAB_PROJECT": str(project), "HALAB_STATE": str(tmp_path / "state")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, ROOT / "src")))
    command = [sys.executable, "-m", "halab", "up", "--stack", "mine", "--overcommit"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"networks.cloud: '{cloud.cidr}': overlaps {cloud.cidr} of libvirt's network lab" in line
    assert "nothing was created" in line
    assert "networks: {cloud: 10." in line
    assert not (tmp_path / "state").exists()
