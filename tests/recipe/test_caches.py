"""Which memcached each API is told of, and what a managed placement waits for."""

from __future__ import annotations

import configparser
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from components.cluster import constraints
from components.plan import managed, plan
from components.topology import Topology, derive
from components.variant import CacheScope, Service, load

PROJECT = Path(__file__).resolve().parents[2]
FILES = {
    "keystone": ("/etc/keystone/keystone.conf", "cache", "memcache_servers"),
    "glance": ("/etc/glance/glance-api.conf", "keystone_authtoken", "memcached_servers"),
    "placement": ("/etc/placement/placement.conf", "keystone_authtoken", "memcached_servers"),
}
AWAIT = PROJECT / "components" / "services" / "files" / "await_table.sh"


def told(topology: Topology, service: str) -> dict[str, set[str]]:
    """Node to the addresses of the caches that its API uses."""
    path, section, option = FILES[service]
    found: dict[str, set[str]] = {}
    for step in plan(topology).steps:
        for file in step.files:
            if file.path == path:
                parser = configparser.RawConfigParser()
                parser.read_string(file.content)
                found[step.node] = {one.rpartition(":")[0] for one in parser[section][option].split(",")}
    return found


@pytest.mark.parametrize("service", FILES)
@pytest.mark.parametrize("scope", CacheScope)
def test_an_api_uses_every_cache_or_its_own_nodes_alone(service: str, scope: CacheScope) -> None:
    topology = derive(replace(load(PROJECT, "cloned"), cache=scope))
    caches = {str(node.ip) for node in topology.running(Service.MEMCACHED)}
    nodes = told(topology, service)
    assert set(nodes) == {node.name for node in topology.running(Service(service))}
    for node, used in nodes.items():
        assert used == (caches if scope is CacheScope.SHARED else {str(topology.node(node).ip)})


@pytest.mark.parametrize("scope", CacheScope)
def test_keystone_runs_where_its_cache_does_if_that_is_its_own(scope: CacheScope) -> None:
    topology = derive(replace(load(PROJECT, "cloned"), cache=scope))
    (found,) = constraints.of(topology, managed(topology))
    pairs = {(one.resource, one.with_) for one in found.colocations}
    assert (("keystone-clone", "memcached-clone") in pairs) is (scope is CacheScope.LOCAL)
    orders = {(one.first, one.then, one.action, one.kind) for one in found.orders}
    assert ("galera-clone", "keystone-clone", "promote", "Mandatory") in orders
    assert {then for first, then, *_ in orders if first == "keystone-clone"} == {"glance-clone", "placement-clone"}


def test_a_placement_that_pacemaker_starts_waits_for_its_tables() -> None:
    topology = derive(load(PROJECT, "cloned"))
    files = {file.path: file for step in plan(topology).steps for file in step.files if step.stage == "placement"}
    (command,) = (
        line.partition("=")[2]
        for line in files["/etc/systemd/system/placement-api.service"].content.splitlines()
        if line.startswith("ExecStartPre=")
    )
    shell, script, options, _ = command.split()
    assert shell == "/bin/bash"
    assert {script, options} <= files.keys()
    assert (files[options].group, files[options].mode) == ("placement", 0o640)


def test_the_wait_ends_when_the_database_answers(tmp_path: Path) -> None:
    client = tmp_path / "mysql"
    client.write_text(f'#!/bin/bash\necho "$*" >>{tmp_path}/asked\n[ "$(wc -l <{tmp_path}/asked)" -ge 2 ]\n')
    client.chmod(0o755)
    command = ["bash", str(AWAIT), "/etc/client.cnf", "alembic_version"]
    done = subprocess.run(command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, timeout=100, check=False)
    assert done.returncode == 0
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 2
    assert asked[0].startswith("--defaults-file=/etc/client.cnf ")
    assert "FROM alembic_version" in asked[0]
