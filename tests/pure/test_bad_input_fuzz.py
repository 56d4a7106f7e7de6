"""Stack files at random: each is either a cloud that can be derived and planned, or refused in lines that name keys."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.plan import plan
from components.topology import Topology, derive
from components.variant import CONFIG_KEY, MANAGEABLE, Role, Service, Stack, StackError, Variant, load, parse

PROJECT = Path(__file__).resolve().parents[2]
STACKS = {name: (PROJECT / "stacks" / f"Pulumi.{name}.yaml").read_text() for name in sorted(Variant)}
TREES = [yaml.safe_load(text)["config"][CONFIG_KEY] for text in STACKS.values()]
#: What a line of a refusal begins with.
KEYED = re.compile(r"""([\w:*<-]+|'[^']*'|"[^"]*")(\.([\w:*<-]+|'[^']*'|"[^"]*"))*: .+|and [0-9]+ more""")
SCRAPS = (
    "\t",
    "\0",
    "\x1b",
    "&a ",
    "*a",
    "<<: ",
    "!!python/object:os.system ",
    "? ",
    "- ",
    "]",
    "{",
    "|",
    '"',
    "---\n",
)
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 10**9, 10**30, 1.5, float("inf"), float("nan")),
    *("", " ", "3", "yes", "0x10", "auto", "none", "\x1b[31mred", "a" * 5000, "\u202e", "\ud800", "../x", "10.0.0.0/8"),
    *("10.20.0.0/22", "172.16.0.0/16", "255.255.255.255/32", "999.1.1.1/22", "10.0.0.0/99", "fd00::/64", 167772160),
    *([], {}, [[]], [None], [{}], ["galera", "galera"], {"a": {"b": []}}, {"secure": "v1:abc"}, {1: 2}, {None: None}),
]
#: Values that their rules allow, to reach what the keys are to each other.
SOUND: dict[str, Callable[[random.Random], Any]] = {
    "count": lambda r: r.choice((1, 2, 3, 4, 5, 7, 15, 16, 32)),
    "memory": lambda r: r.choice((256, 512, 1024, 3072)),
    "vcpus": lambda r: r.choice((1, 64)),
    "disk": lambda r: r.choice((8, 4096)),
    "services": lambda r: r.sample([str(one) for one in Service], r.randint(0, 6)),
    "cluster": lambda r: r.choice(("core", "other")),
    "membership": lambda r: r.choice(("full", "remote", "none")),
    "cloud": lambda r: r.choice(("auto", "10.0.0.0/16", "192.168.0.0/22", "172.16.0.0/16", "172.24.4.0/22")),
    "outer": lambda r: r.choice(("auto", "10.0.1.0/28", "172.16.0.0/28", "192.168.4.0/24", "10.128.0.0/16")),
    "manages": lambda r: r.sample([str(one) for one in MANAGEABLE], r.randint(0, 5)),
    "fencing": lambda r: r.choice(("xvm", "none")),
    "manager": lambda r: r.choice(("pacemaker", "keepalived")),
    "layout": lambda r: r.choice(("per-service", "shared")),
    "spread": lambda r: r.random() < 0.5,
    "token": lambda r: r.choice((1000, 60000)),
    "stonith": lambda r: r.choice((21, 900)),
    "uri": lambda r: r.choice(("auto", "embedded", "system", "qemu+ssh://root@lab/system")),
}
SECTIONS = {
    "networks": ("cloud", "outer"),
    "cluster": ("manages", "fencing"),
    "vips": ("manager", "layout", "spread"),
    "timers": ("token", "stonith"),
    "hypervisor": ("uri",),
}
ROLE_KEYS = ("count", "memory", "vcpus", "disk", "services", "cluster", "membership")


def mappings(tree: Any) -> list[dict[Any, Any]]:
    return [tree, *(one for value in tree.values() if isinstance(value, dict) for one in mappings(value))]


def odd(r: random.Random) -> Any:
    """A value of its own each time: later mistakes may change what is in it."""
    return copy.deepcopy(r.choice(ODD))


def spoil(r: random.Random, tree: dict[Any, Any]) -> None:
    """One mistake of the kind that people and programs make."""
    target = r.choice(mappings(tree))
    key = r.choice(list(target)) if target else "new"
    match r.randrange(6):
        case 0:
            target.pop(key, None)
        case 1:
            target[key] = odd(r)
        case 2:
            target[r.choice(("colour", "cuont", "role", "\x1b]0;x\x07", "", 3, None, "password"))] = odd(r)
        case 3:
            target[key] = str(target.get(key))
        case 4 if isinstance(target.get(key), list):
            target[key] = [*target[key], odd(r)]
        case _:
            target[key] = [target.get(key)]


def vary(r: random.Random, tree: dict[Any, Any]) -> None:
    """One change that each key's own rule allows."""
    roles = tree["roles"]
    if r.random() < 0.6:
        role = roles.setdefault(r.choice([str(role) for role in Role]), {})
        key = r.choice(ROLE_KEYS)
        role[key] = SOUND[key](r)
        if r.random() < 0.1:
            roles.pop(r.choice(list(roles)))
    else:
        section = r.choice(list(SECTIONS))
        key = r.choice(SECTIONS[section])
        tree.setdefault(section, {})[key] = SOUND[key](r)


def outcome(read: Callable[[], Stack], keyed: re.Pattern[str] = KEYED) -> Stack | tuple[str, ...]:
    """The stack, or the lines of the refusal, each of them fit to be shown."""
    lines: tuple[str, ...] = ()
    try:
        return read()
    except StackError as error:
        lines = error.problems
    assert lines
    for line in lines:
        assert keyed.fullmatch(line), line
        assert line.isprintable(), ascii(line)
        assert len(line) < 600, line
    return lines


def check(topology: Topology) -> None:
    """What must hold of every cloud, whatever its file says."""
    cloud, outer = topology.cloud.cidr, topology.outer.cidr
    assert not cloud.overlaps(outer)
    taken: list[IPv4Address] = [network.host.ip for network in topology.networks]
    for node in topology.nodes:
        for nic in node.nics:
            network = cloud if nic.network == "cloud" else outer
            assert nic.ip in network
            assert nic.ip not in (network.network_address, network.broadcast_address)
            taken.append(nic.ip)
    for vip in topology.vips:
        assert vip.ip in cloud
        assert 1 <= vip.vrid <= 255
        assert vip.nodes
        taken.append(vip.ip)
    assert len(set(taken)) == len(taken)
    macs = [nic.mac for node in topology.nodes for nic in node.nics]
    assert len(set(macs)) == len(macs)
    assert len({vip.vrid for vip in topology.vips}) == len(topology.vips)
    assert all(len(network.bridge) <= 15 for network in topology.networks)
    for cluster in topology.clusters:
        assert len(cluster.members) in range(3, 17, 2)


@pytest.mark.parametrize("seed", range(8))
def test_a_spoilt_stack_file_is_refused_in_lines_that_name_keys_or_makes_a_cloud(seed: int) -> None:
    r = random.Random(seed)
    for _ in range(100):
        tree = copy.deepcopy(r.choice(TREES))
        for _ in range(r.randint(1, 4)):
            spoil(r, tree)
        found = outcome(partial(parse, "fuzzed", tree))
        if isinstance(found, Stack):
            check(derive(found))


@pytest.mark.parametrize("seed", range(8))
def test_what_keys_may_be_together_can_be_planned(seed: int) -> None:
    r = random.Random(1000 + seed)
    made = refused = 0
    for _ in range(60):
        tree = copy.deepcopy(r.choice(TREES))
        for _ in range(r.randint(1, 3)):
            vary(r, tree)
        found = outcome(partial(parse, "fuzzed", tree))
        if isinstance(found, tuple):
            refused += 1
            continue
        made += 1
        topology = derive(found)
        check(topology)
        for step in plan(topology).steps:
            assert step.script()
    assert made > 10
    assert refused > 10


def test_apis_that_pacemaker_manages_beside_a_database_that_it_does_not_can_be_planned() -> None:
    tree = yaml.safe_load(STACKS[Variant.SEGREGATED])["config"][CONFIG_KEY]
    tree["cluster"]["manages"] = ["rabbitmq", "haproxy", "glance", "placement", "keystone"]
    assert plan(derive(parse("found", tree))).steps


@pytest.mark.parametrize("seed", range(4))
def test_a_mangled_text_is_read_or_refused_but_never_a_surprise(seed: int, tmp_path: Path) -> None:
    r = random.Random(2000 + seed)
    (tmp_path / "stacks").mkdir()
    for _ in range(60):
        data = bytearray(r.choice(list(STACKS.values())).encode())
        for _ in range(r.randint(1, 5)):
            place = r.randrange(len(data))
            match r.randrange(4):
                case 0:
                    data[place] = r.randrange(256)
                case 1:
                    data[place:place] = r.choice(SCRAPS).encode()
                case 2:
                    del data[place : place + r.randrange(40)]
                case _:
                    data[place:place] = data[r.randrange(len(data)) :][:60]
        (tmp_path / "stacks" / "Pulumi.fuzzed.yaml").write_bytes(data)
        outcome(partial(load, tmp_path, "fuzzed"), re.compile(".+"))
