"""The VIP of two load balancers, by real keepalived and HAProxy in two network namespaces of this test's own.

Without `track_process`, whose kernel connector answers in a host's first network namespace only; and HAProxy is
asked three times as often.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from components.services import haproxy, keepalived
from components.topology import derive
from components.variant import load

T = TypeVar("T")
PROJECT = Path(__file__).resolve().parents[2]
TOPOLOGY = derive(load(PROJECT, "endpoint"))
NODES = tuple(TOPOLOGY.node(name) for name in TOPOLOGY.vips[0].nodes)
VIP = TOPOLOGY.vips[0].ip
CHECK = PROJECT / "components" / "services" / "files" / "haproxy_check.sh"
CHANGES = {"interval 3": "interval 1", "interface CLOUD": "interface cloud0", "@{VRRP_AUTH}": "8letters"}
#: A partition: neither hears the other's advertisements.
CUT = "table inet cut { chain input { type filter hook input priority 0; ip protocol vrrp drop; }; }\n"
#: keepalived refuses a script that anybody else could change: it gets a folder of its own that only root can write to.
PLACE = 'mount -t tmpfs -o mode=755 tmpfs /usr/local/lib && mkdir -p "$(dirname "$1")" && install -m 755 "$2" "$1"'


def until(seen: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 60) -> T:
    """What is seen once it is as wanted, or at the limit."""
    end = time.monotonic() + seconds
    while not wanted(found := seen()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def at_once() -> list[str]:
    """What goes before a command for a busy host not to keep it waiting, where that is allowed: a node that gets no
    processor for three seconds is, for its rival, gone.
    """
    command = ["chrt", "--fifo", "1"]
    return [] if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode else command


class World:
    """Two nodes on one wire, `a` and `b` in the order of their priorities; `a` came first and holds the VIP."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = tuple(f"halab-vrrp-{os.getpid()}-{letter}" for letter in "ab")
        self.running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self.at_once = at_once()

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
            for was, becomes in CHANGES.items():
                assert text.count(was) == 1
                text = text.replace(was, becomes)
            (self.root / f"{name}.conf").write_text(text)
            (self.root / f"{name}.cfg").write_text("defaults\n    timeout client 5s\n" + haproxy.HEALTH)
            self.start(name, "haproxy", self.haproxy(name))
        for name in self.names:
            assert until(partial(self.answers, name), bool)
            self.start(name, "keepalived", self._keepalived(name))
            assert until(self.holders, "a".__eq__) == "a"

    def haproxy(self, name: str) -> list[str]:
        return ["haproxy", "-db", "-f", str(self.root / f"{name}.cfg")]

    def answers(self, name: str) -> bool:
        asked = ["bash", str(CHECK), haproxy.HEALTH_ADDRESS, str(haproxy.HEALTH_PORT)]
        return not subprocess.run(["ip", "netns", "exec", name, *asked], stderr=subprocess.DEVNULL).returncode

    def _keepalived(self, name: str) -> list[str]:
        files = [f"--{kind}={self.root / name}.{kind}" for kind in ("pid", "vrrp_pid")]
        run = ["keepalived", "-n", "-l", "-P", "-f", str(self.root / f"{name}.conf"), *files]
        shell = ["sh", "-e", "-c", f'{PLACE} && shift 2 && exec "$@"', "sh", keepalived.CHECK, str(CHECK), *run]
        return ["unshare", "--mount", *shell]

    def start(self, name: str, what: str, command: list[str]) -> None:
        log = (self.root / f"{name}.{what}.log").open("ab")
        inside = [*self.at_once, "ip", "netns", "exec", name, *command]
        self.running[name, what] = subprocess.Popen(inside, stdout=log, stderr=log)

    def end(self, *which: tuple[str, str]) -> None:
        ended = [self.running.pop(one) for one in which]
        for process in ended:
            process.terminate()
        for process in ended:
            process.wait(60)

    def holders(self) -> str:
        return "".join(
            name[-1] for name in self.names if f"inet {VIP}/" in self.ip("-n", name, "-4", "address", "show")
        )

    def close(self) -> None:
        self.end(*self.running)
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if os.geteuid():
        pytest.skip("network namespaces are root's to make")
    for program in ("keepalived", "haproxy", "ip"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            pytest.skip(f"{program} is not installed: it is what is tried here")
    made = World(tmp_path_factory.mktemp("vrrp"))
    try:
        made.make()
        yield made
    finally:
        made.close()


def test_the_vip_leaves_a_node_whose_haproxy_is_silent_and_does_not_come_back_by_itself(world: World) -> None:
    preferred, _other = world.names
    world.end((preferred, "haproxy"))
    assert until(world.holders, "b".__eq__) == "b"
    world.start(preferred, "haproxy", world.haproxy(preferred))
    log = world.root / f"{preferred}.keepalived.log"
    said = until(lambda: log.read_text().rpartition("FAULT")[2], lambda said: "Entering BACKUP STATE" in said)
    assert "Entering BACKUP STATE" in said
    # Three of its rival's advertisements missed would make it master; it has heard more than that.
    assert until(world.holders, "b".__ne__, 4) == "b"


def test_nodes_that_cannot_hear_each_other_both_hold_the_vip_and_one_gives_it_up_when_they_can(world: World) -> None:
    for name in world.names:
        subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=CUT, text=True, check=True)
    assert until(world.holders, "ab".__eq__) == "ab"
    for name in world.names:
        subprocess.run(["ip", "netns", "exec", name, "nft", "delete", "table", "inet", "cut"], check=True)
    # The one with the higher priority keeps it.
    assert until(world.holders, "a".__eq__) == "a"


def test_nodes_that_are_told_of_a_new_peer_keep_the_vip_where_it_is(world: World) -> None:
    """A reload, as the recipe does it, on all of them at once."""
    owner = until(world.holders, lambda held: len(held) == 1)
    for name in world.names:
        path = world.root / f"{name}.conf"
        text = path.read_text()
        assert "    unicast_peer {\n" in text
        path.write_text(text.replace("    unicast_peer {\n", f"    unicast_peer {{\n        {VIP + 200}\n"))
        world.running[name, "keepalived"].send_signal(signal.SIGHUP)
    logs = [world.root / f"{name}.keepalived.log" for name in world.names]
    assert until(lambda: sum("Reloading" in log.read_text() for log in logs), (2).__eq__) == 2
    # Longer than it takes to miss three advertisements.
    assert until(world.holders, owner.__ne__, 5) == owner
