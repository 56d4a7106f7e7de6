"""The VIP of two load balancers, by real keepalived and HAProxy in two network namespaces of this test's own.

Without `track_process`, whose kernel connector answers in a host's first network namespace only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.services import haproxy, keepalived
from components.topology import derive
from components.variant import load

PROJECT = Path(__file__).resolve().parents[2]
TOPOLOGY = derive(load(PROJECT, "endpoint"))
NODES = tuple(TOPOLOGY.node(name) for name in TOPOLOGY.vips[0].nodes)
VIP = TOPOLOGY.vips[0].ip
#: A partition: neither hears the other's advertisements.
CUT = "table inet cut { chain input { type filter hook input priority 0; ip protocol vrrp drop; }; }\n"
#: keepalived refuses a script that anybody else could change: it gets a folder of its own that only root can write to.
PLACE = 'mount -t tmpfs -o mode=755 tmpfs /usr/local/lib && mkdir -p "$(dirname "$1")" && install -m 755 "$2" "$1"'


class World:
    """Two nodes on one wire, `a` and `b` in the order of their priorities."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = tuple(f"halab-vrrp-{os.getpid()}-{letter}" for letter in "ab")
        self.running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def ip(self, *arguments: str) -> str:
        return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout

    def make(self) -> None:
        a, b = self.names
        for name in self.names:
            self.ip("netns", "add", name)
            self.ip("-n", name, "link", "set", "lo", "up")
        self.ip("-n", a, "link", "add", "cloud0", "type", "veth", "peer", "name", "cloud0", "netns", b)
        for name, node in zip(self.names, NODES, strict=True):
            self.ip("-n", name, "address", "add", str(node.nics[0].address), "dev", "cloud0")
            self.ip("-n", name, "link", "set", "cloud0", "up")
            text = re.sub(r"^vrrp_track_process.*?^}\n", "", keepalived.config(TOPOLOGY, node), flags=re.S | re.M)
            text = re.sub(r"    track_process \{.*?    }\n", "", text, flags=re.S)
            text = text.replace("interface CLOUD", "interface cloud0").replace("@{VRRP_AUTH}", "8letters")
            (self.root / f"{name}.conf").write_text(text)
            (self.root / f"{name}.cfg").write_text("defaults\n    timeout client 5s\n" + haproxy.HEALTH)
            self.start(name, "haproxy", ["haproxy", "-db", "-f", str(self.root / f"{name}.cfg")])
            self.start(name, "keepalived", self._keepalived(name))

    def _keepalived(self, name: str) -> list[str]:
        script = PROJECT / "components" / "services" / "files" / "haproxy_check.sh"
        files = [f"--{kind}={self.root / name}.{kind}" for kind in ("pid", "vrrp_pid")]
        run = ["keepalived", "-n", "-l", "-P", "-f", str(self.root / f"{name}.conf"), *files]
        shell = ["sh", "-e", "-c", f'{PLACE} && shift 2 && exec "$@"', "sh", keepalived.CHECK, str(script), *run]
        return ["unshare", "--mount", *shell]

    def start(self, name: str, what: str, command: list[str]) -> None:
        log = (self.root / f"{name}.{what}.log").open("ab")
        inside = ["ip", "netns", "exec", name, *command]
        self.running[name, what] = subprocess.Popen(inside, stdout=log, stderr=log)

    def end(self, name: str, what: str) -> None:
        process = self.running.pop((name, what))
        process.terminate()
        process.wait(20)

    def holders(self) -> str:
        return "".join(
            name[-1] for name in self.names if f"inet {VIP}/" in self.ip("-n", name, "-4", "address", "show")
        )

    def within(self, seconds: float, wanted: Callable[[str], bool]) -> str:
        """Who holds the VIP once it is as wanted, or at the limit."""
        end = time.monotonic() + seconds
        while not wanted(seen := self.holders()) and time.monotonic() < end:
            time.sleep(0.1)
        return seen

    def close(self) -> None:
        for name, what in tuple(self.running):
            self.end(name, what)
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    if os.geteuid():
        pytest.skip("network namespaces are root's to make")
    for program in ("keepalived", "haproxy", "ip"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            pytest.skip(f"{program} is not installed: it is what is tried here")
    made = World(tmp_path)
    try:
        made.make()
        yield made
    finally:
        made.close()


def one(holders: str) -> bool:
    return len(holders) == 1


def test_the_vip_leaves_a_node_whose_haproxy_is_silent_and_does_not_come_back_by_itself(world: World) -> None:
    owner = world.within(20, one)
    other = "b" if owner == "a" else "a"
    name = world.names["ab".index(owner)]
    world.end(name, "haproxy")
    assert world.within(20, other.__eq__) == other
    world.start(name, "haproxy", ["haproxy", "-db", "-f", str(world.root / f"{name}.cfg")])
    log = world.root / f"{name}.keepalived.log"
    end = time.monotonic() + 20
    while "Entering BACKUP STATE" not in log.read_text().rpartition("FAULT")[2] and time.monotonic() < end:
        time.sleep(0.1)
    assert "Entering BACKUP STATE" in log.read_text().rpartition("FAULT")[2]
    # Three of its rival's advertisements missed would make it master; it has heard more than that.
    assert world.within(5, other.__ne__) == other


def test_nodes_that_cannot_hear_each_other_both_hold_the_vip_and_one_gives_it_up_when_they_can(world: World) -> None:
    assert one(world.within(20, one))
    for name in world.names:
        subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=CUT, text=True, check=True)
    assert world.within(20, "ab".__eq__) == "ab"
    for name in world.names:
        subprocess.run(["ip", "netns", "exec", name, "nft", "delete", "table", "inet", "cut"], check=True)
    # The one with the higher priority keeps it.
    assert world.within(20, "a".__eq__) == "a"
