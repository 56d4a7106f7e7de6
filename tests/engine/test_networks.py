"""A network of a stack that somebody undefined, stopped or whose bridge was deleted while VMs run on it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt  # type: ignore[import-untyped]
import pytest

from components.topology import derive
from components.variant import load
from halab import networks
from halab.embedded.hypervisor import FenceConfig, FenceGroup, Hypervisor
from halab.embedded.hypervisor.waiting import wait_for
from halab.errors import HalabError, RefusedError
from halab.host.install import exists
from halab.hypervisors import Choice
from halab.workspace import Workspace, write_json
from tests.engine import inventory
from tests.engine.crash_world import PROJECT, STACK
from tests.engine.private_libvirt import needs_libvirt
from tests.engine.test_crash_engine import World, made, opened
from tests.engine.test_hypervisor import BRIDGE, GUEST, fence_xvm, guest_on_the_bridge, with_vm

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.timeout(600), needs_libvirt]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="hn") as folder, opened(Path(folder)) as found:
        yield found


def virsh(hypervisor: Hypervisor, *arguments: str) -> None:
    command = ["virsh", "--quiet", "-c", hypervisor.uri, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def ip(hypervisor: Hypervisor, *arguments: str) -> str:
    command = [*hypervisor.inside(), "ip", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def stopped(world: World) -> None:
    virsh(world.hypervisor, "net-destroy", "n")


def undefined(world: World) -> None:
    virsh(world.hypervisor, "net-undefine", "n")


def removed(world: World) -> None:
    undefined(world)
    stopped(world)


def without_bridge(world: World) -> None:
    ip(world.hypervisor, "link", "delete", "hlcrash0")


def without_bridge_when_libvirtd_started(world: World) -> None:
    without_bridge(world)
    os.kill(world.libvirtd(), signal.SIGKILL)
    world.hypervisor.start()


def started_again_by_hand(world: World) -> None:
    stopped(world)
    virsh(world.hypervisor, "net-start", "n")


CABLE = "had 1 of its VMs' interfaces off its bridge"
DAMAGES: dict[Callable[[World], None], str] = {
    stopped: f"was stopped, {CABLE}",
    undefined: "was undefined",
    removed: f"was undefined, was stopped, {CABLE}",
    without_bridge: f"had lost its bridge, {CABLE}",
    # a libvirtd that starts looks for its VMs' bridges itself, a moment later
    without_bridge_when_libvirtd_started: f"was stopped(, {CABLE})?",
    started_again_by_hand: CABLE,
}
each_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)


def resources(world: World) -> list[dict[str, Any]]:
    state = json.loads((world.folder / "state" / PROJECT / f"{STACK}.json").read_text())
    found: list[dict[str, Any]] = state["checkpoint"]["latest"]["resources"]
    return found


def bring_back(world: World) -> dict[str, str]:
    return networks.bring_back(resources(world), world.hypervisor.uri, world.hypervisor.inside())


def network_xml(world: World) -> str:
    connection = libvirt.open(world.hypervisor.uri)
    text: str = connection.networkLookupByName("n").XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
    autostart = connection.networkLookupByName("n").autostart()
    connection.close()
    # libvirt gives a bridge another address when it is defined anew
    return f"{autostart} {[line for line in text.splitlines() if '<mac ' not in line]}"


@each_damage
def test_what_became_of_a_network_is_told_and_it_is_as_it_was_with_the_vms_that_run_on_it(
    world: World, damage: Callable[[World], None]
) -> None:
    world.good("up", running="a")
    before, definition = inventory.real(world.hypervisor), network_xml(world)
    machine = {one.pid for one in world.hypervisor.processes() if one.role == "qemu:a"}
    assert bring_back(world) == {}
    damage(world)
    (said,) = bring_back(world).items()
    assert re.fullmatch(f"hlcrash0 network n {DAMAGES[damage]}", " ".join(said))
    assert inventory.real(world.hypervisor) == before
    assert network_xml(world) == definition
    links = json.loads(ip(world.hypervisor, "-json", "link", "show"))
    assert {one["ifname"]: one.get("master") for one in links if one["ifname"].startswith("vnet")} == {
        link["ifname"]: "hlcrash0" for link in links if link["ifname"].startswith("vnet")
    }
    assert bring_back(world) == {}
    assert made(world.good("refresh", "up", running="a")) == {}, "nothing is built anew for it"
    assert {one.pid for one in world.hypervisor.processes() if one.role == "qemu:a"} == machine
    world.check(up=True)


@each_damage
def test_a_down_leaves_nothing_of_a_network_whatever_became_of_it(
    world: World, damage: Callable[[World], None]
) -> None:
    world.good("up", running="a")
    damage(world)
    world.good("destroy")
    world.check(up=False)


def test_another_s_network_of_the_name_is_refused_with_what_to_do_and_left_alone(world: World) -> None:
    world.good("up", running="a")
    removed(world)
    connection = libvirt.open(world.hypervisor.uri)
    theirs = connection.networkDefineXML("<network><name>n</name><bridge name='hlcrash9'/></network>")
    with pytest.raises(RefusedError, match=r"net-destroy n; .*net-undefine n; then ./halab up") as refused:
        bring_back(world)
    assert "\n" not in str(refused.value)
    assert connection.networkLookupByName("n").UUIDString() == theirs.UUIDString()
    theirs.undefine()
    connection.close()
    assert bring_back(world).keys() == {"hlcrash0"}
    world.good("destroy")


def test_where_bridges_are_out_of_reach_it_is_said_what_puts_the_vms_on_the_network_again(world: World) -> None:
    world.good("up", running="a")
    stopped(world)
    with pytest.raises(HalabError, match=r"network n was stopped; it runs again, .*systemctl restart libvirtd"):
        networks.bring_back(resources(world), world.hypervisor.uri, None)
    os.kill(world.libvirtd(), signal.SIGKILL)
    world.hypervisor.start()
    assert wait_for(lambda: "master hlcrash0" in ip(world.hypervisor, "link", "show", "type", "tun"), 60)
    assert bring_back(world) == {}
    world.good("destroy")


@pytest.mark.skipif(not exists("fence_xvm"), reason="needs fence_xvm, which `halab doctor --test` installs")
def test_fencing_hears_the_nodes_again_on_a_bridge_that_was_made_anew() -> None:
    with tempfile.TemporaryDirectory(prefix="hn") as folder:
        workspace = Workspace(ROOT, derive(load(ROOT, "collapsed")), Path(folder))
        hypervisor = Hypervisor("collapsed", Path(folder), kvm=False)
        try:
            hypervisor.start()
            domain = with_vm(hypervisor)
            network = domain.connect().networkLookupByName("lab")
            groups = (FenceGroup("mine", (GUEST,), ("tiny", domain.UUIDString())),)
            hypervisor.start_fence(FenceConfig(BRIDGE, os.urandom(512), groups))
            guest, key = guest_on_the_bridge(hypervisor), hypervisor.fence.key_file
            note(workspace, network.UUIDString())
            workspace.note(hypervisor="embedded", verified="2026-11-21T10:00:00Z")
            choice = Choice(True, hypervisor.uri, "")
            assert networks.mend(workspace, choice) == []
            record = workspace.record()
            assert record is not None
            assert record.verified

            ip(hypervisor, "link", "delete", BRIDGE)
            assert networks.mend(workspace, choice) == ["network lab had lost its bridge"]
            record = workspace.record()
            assert record is not None
            assert not record.verified, "what was verified was on another bridge"
            ip(hypervisor, "link", "set", "guest0", "master", BRIDGE)
            done = fence_xvm(guest, key, "-H", "tiny", "-o", "off")
            assert done.returncode == 0, done.stderr
            assert not domain.isActive()
        finally:
            assert hypervisor.remove() == []


def note(workspace: Workspace, uuid: str) -> None:
    """The network in the stack's state, which has nothing else."""
    props = {"name": "lab", "bridge": BRIDGE, "mode": "none"}
    resource = {
        "urn": "urn:pulumi:collapsed::halab::libvirt:index/network:Network::lab",
        "type": "libvirt:index/network:Network",
        "custom": True,
        "id": uuid,
        "inputs": props,
        "outputs": props,
    }
    write_json(workspace.checkpoint, {"version": 3, "checkpoint": {"latest": {"resources": [resource]}}})
