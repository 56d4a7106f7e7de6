"""A node's first boot: what it reads is for it, depends on little else, and is all acted upon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from components.secrets import Secrets
from components.seed import hosts, merge, seed
from components.topology import Topology, derive
from components.variant import Role, Service

PROJECT = Path(__file__).resolve().parents[2]
#: Which of cloud-init's modules act on a key of user-data; None: read by cloud-init or by several.
MODULES = {
    "hostname": "set_hostname",
    "preserve_hostname": "set_hostname",
    "manage_etc_hosts": None,
    "disable_root": "ssh",
    "ssh_pwauth": None,
    "ssh_deletekeys": "ssh",
    "ssh_keys": "ssh",
    "ssh_authorized_keys": "ssh",
    "users": "users_groups",
    "write_files": "write_files",
}


def test_merging_joins_mappings_and_lists_and_prefers_the_later_scalar() -> None:
    base = {"a": 1, "list": [1], "tree": {"x": 1, "y": [1]}}
    over = {"a": 2, "list": [2], "tree": {"y": [2], "z": 3}, "new": {"k": None}}
    assert merge(base, over) == {
        "a": 2,
        "list": [1, 2],
        "tree": {"x": 1, "y": [1, 2], "z": 3},
        "new": {"k": None},
    }
    assert base == {"a": 1, "list": [1], "tree": {"x": 1, "y": [1]}}


@pytest.mark.parametrize("role", list(Role))
def test_there_is_a_file_for_every_role(role: Role) -> None:
    assert isinstance(yaml.safe_load((PROJECT / "cloud-init" / f"{role}.yaml").read_text()), dict)


def test_every_key_is_one_that_a_module_of_the_image_acts_on(topology: Topology, secrets: Secrets) -> None:
    config = yaml.safe_load((PROJECT / "images/files/etc/cloud/cloud.cfg").read_text())
    runs = {name for stage in ("init", "config", "final") for name in config[f"cloud_{stage}_modules"]}
    for node in topology.nodes:
        for key in yaml.safe_load(seed(topology, node, secrets).user_data):
            assert MODULES[key] is None or MODULES[key] in runs, key


def test_root_logs_in_with_the_stacks_key_only(topology: Topology, secrets: Secrets) -> None:
    for node in topology.nodes:
        data = yaml.safe_load(seed(topology, node, secrets).user_data)
        (key,) = data["ssh_authorized_keys"]
        assert key.startswith(secrets.ssh_public("client") + " ")
        assert data["users"] == []
        assert data["ssh_pwauth"] is False
        assert "password" not in data
        assert "chpasswd" not in data


def test_no_key_is_empty_which_cloud_inits_schema_refuses_for_some(topology: Topology, secrets: Secrets) -> None:
    for node in topology.nodes:
        data = yaml.safe_load(seed(topology, node, secrets).user_data)
        # `users: []` is how the image's default user is kept from being made
        assert [key for key, value in data.items() if value in ([], {}, "", None)] == ["users"]


def test_the_host_key_is_supplied_so_that_none_is_made(topology: Topology, secrets: Secrets) -> None:
    for node in topology.nodes:
        data = yaml.safe_load(seed(topology, node, secrets).user_data)
        assert data["ssh_keys"]["ed25519_private"] == secrets.ssh_private(node.name)
        assert data["ssh_keys"]["ed25519_public"].startswith(secrets.ssh_public(node.name))
        assert data["ssh_deletekeys"] is False


def test_no_other_secret_of_the_stack_is_in_a_seed(collapsed: Topology, secrets: Secrets) -> None:
    text = "".join(
        one
        for node in collapsed.nodes
        for one in (seed(collapsed, node, secrets).user_data, seed(collapsed, node, secrets).network_config)
    )
    for name in ("KEYSTONE_ADMIN", "COROSYNC_AUTHKEY", "FENCE_KEY"):
        assert secrets.value(name) not in text
    assert secrets.ssh_private("client") not in text


def test_interfaces_are_matched_by_mac_with_static_addresses(topology: Topology, secrets: Secrets) -> None:
    for node in topology.nodes:
        config = yaml.safe_load(seed(topology, node, secrets).network_config)
        assert config["version"] == 2
        found = {one["match"]["macaddress"]: one for one in config["ethernets"].values()}
        assert found.keys() == {nic.mac for nic in node.nics}
        for nic in node.nics:
            assert found[nic.mac]["addresses"] == [str(nic.address)]
            assert not found[nic.mac].get("dhcp4", False)


def test_the_gateway_is_the_way_out_and_the_resolver_of_everyone_else(collapsed: Topology, secrets: Secrets) -> None:
    (gateway,) = collapsed.running(Service.GATEWAY)
    for node in collapsed.nodes:
        found = seed(collapsed, node, secrets)
        routes = yaml.safe_load(found.network_config)["ethernets"]["cloud"].get("routes", [])
        files = {one["path"]: one["content"] for one in yaml.safe_load(found.user_data)["write_files"]}
        if node == gateway:
            assert routes == []
            assert "nameserver 127.0.0.1\n" in files["/etc/resolv.conf"]
        else:
            # `to: default` is refused by the image's renderer
            assert routes == [{"to": "0.0.0.0/0", "via": str(gateway.ip)}]
            assert f"nameserver {gateway.ip}\n" in files["/etc/resolv.conf"]


def test_a_role_has_its_own_part(collapsed: Topology, secrets: Secrets) -> None:
    def motd(name: str) -> str:
        data = yaml.safe_load(seed(collapsed, collapsed.node(name), secrets).user_data)
        return next(str(one["content"]) for one in data["write_files"] if one["path"] == "/etc/motd")

    assert "crm_mon" in motd("controller-1")
    assert "nft" in motd("gateway-1")


def test_a_changed_seed_is_another_instance_and_an_equal_one_is_not(collapsed: Topology, secrets: Secrets) -> None:
    node = collapsed.node("controller-1")
    first = yaml.safe_load(seed(collapsed, node, secrets).meta_data)
    assert yaml.safe_load(seed(collapsed, node, secrets).meta_data) == first
    other = Secrets(b"b" * 32, secrets.made)
    assert yaml.safe_load(seed(collapsed, node, other).meta_data)["instance-id"] != first["instance-id"]
    assert first["local-hostname"] == "controller-1"


def test_a_nodes_seed_does_not_change_when_others_come(collapsed: Topology, secrets: Secrets) -> None:
    roles = tuple(replace(s, count=s.count + 1) if s.role is Role.COMPUTE else s for s in collapsed.stack.roles)
    grown = derive(replace(collapsed.stack, roles=roles))
    for node in collapsed.nodes:
        assert seed(grown, grown.node(node.name), secrets) == seed(collapsed, node, secrets)


def test_hosts_names_every_node_and_vip_once(topology: Topology) -> None:
    names: dict[str, str] = {}
    for line in hosts(topology).splitlines():
        address, *found = line.split()
        for name in found:
            assert name not in names or name == "localhost", name
            names[name] = address
    for node in topology.nodes:
        assert names[node.name] == names[f"{node.name}.{topology.domain}"] == str(node.ip)
    for vip in topology.vips:
        assert names[f"{vip.name}.{topology.domain}"] == str(vip.ip)
