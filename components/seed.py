"""What a node's first boot reads: NoCloud user-data, meta-data and network-config, from YAML trees. Pure.

A node's seed depends on that node, its gateway and the stack's keys only: whatever changes a seed rebuilds its VM, so
the names of other nodes (/etc/hosts) come with the first step instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from typing import Any

import yaml

from components.secrets import Secrets
from components.topology import Network, Node, Topology
from components.variant import Service

_FOLDER = Path(__file__).resolve().parent.parent / "cloud-init"


@dataclass(frozen=True, slots=True)
class Seed:
    """The three files of a NoCloud seed. `user_data` holds the node's SSH host key."""

    user_data: str
    meta_data: str
    network_config: str


def merge(base: Any, over: Any) -> Any:
    """Two trees as one: mappings key by key, lists one after the other, anything else the later value."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {**base, **{key: merge(base[key], value) if key in base else value for key, value in over.items()}}
    if isinstance(base, list) and isinstance(over, list):
        return [*base, *over]
    return over


@cache
def _tree(name: str) -> Any:
    return yaml.safe_load((_FOLDER / f"{name}.yaml").read_text())


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, as a person would write it."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _dump(tree: Any) -> str:
    return str(yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=200))


def _gateway(topology: Topology) -> Node | None:
    return next(iter(topology.running(Service.GATEWAY)), None)


def hosts(topology: Topology) -> str:
    """hosts(5) of every node: all nodes and VIPs, by short and by full name."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{node.ip} {node.name}.{topology.domain} {node.name}" for node in topology.nodes]
    lines += [f"{vip.ip} {vip.name}.{topology.domain}" for vip in topology.vips]
    return "\n".join(lines) + "\n"


def _resolver(topology: Topology, node: Node) -> str:
    """resolv.conf(5): the gateway answers; it asks itself."""
    gateway = _gateway(topology)
    if gateway is None:
        return f"search {topology.domain}\n"
    return f"search {topology.domain}\nnameserver {'127.0.0.1' if node == gateway else gateway.ip}\n"


def _interface(topology: Topology, node: Node, index: int, network: Network) -> dict[str, Any]:
    nic, gateway = node.nics[index], _gateway(topology)
    tree: dict[str, Any] = {
        "match": {"macaddress": nic.mac},
        "set-name": f"eth{index}",
        "addresses": [str(nic.address)],
    }
    if index == 0 and gateway is not None and node != gateway:
        # cloud-init's eni renderer knows no `to: default`.
        tree["routes"] = [{"to": "0.0.0.0/0", "via": str(gateway.ip)}]
    return {network.key: tree}


def _own(topology: Topology, node: Node, secrets: Secrets) -> dict[str, Any]:
    return {
        "hostname": node.name,
        "ssh_authorized_keys": [f"{secrets.ssh_public('client')} halab-{topology.stack.cloud}"],
        "ssh_keys": {
            "ed25519_private": secrets.ssh_private(node.name),
            "ed25519_public": f"{secrets.ssh_public(node.name)} {node.name}",
        },
        "write_files": [{"path": "/etc/resolv.conf", "content": _resolver(topology, node)}],
    }


def seed(topology: Topology, node: Node, secrets: Secrets) -> Seed:
    """The seed of one node. Its instance-id is a hash of the rest: a changed seed is another instance."""
    trees: Iterable[Any] = (_tree("base"), _tree(node.role), _own(topology, node, secrets))
    user_data = "#cloud-config\n" + _dump(reduce(merge, trees))
    networks = {network.key: network for network in topology.networks}
    interfaces: dict[str, Any] = {}
    for index, nic in enumerate(node.nics):
        interfaces |= _interface(topology, node, index, networks[nic.network])
    network_config = _dump({"version": 2, "ethernets": interfaces})
    identity = hashlib.sha256(f"{user_data}\0{network_config}".encode()).hexdigest()[:16]
    return Seed(
        user_data, _dump({"instance-id": f"{node.name}-{identity}", "local-hostname": node.name}), network_config
    )
