"""The rendered CIB of every cluster of every stack, judged by Pacemaker's own crm_verify and crm_simulate."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from components.cluster import cib, corosync, fencing
from components.plan import managed
from components.topology import Cluster, Topology, derive
from components.variant import CONFIG_KEY, Role, Stack, Variant, load, parse

PROJECT = Path(__file__).resolve().parents[2]
VERIFY, SIMULATE = shutil.which("crm_verify"), shutil.which("crm_simulate")
SCHEMAS = Path("/usr/share/pacemaker")
needs_pacemaker = pytest.mark.skipif(
    VERIFY is None or SIMULATE is None, reason="crm_verify is absent: install pacemaker-cli-utils"
)


def sized(stack: Stack, **counts: int) -> Stack:
    return replace(stack, roles=tuple(replace(s, count=counts.get(str(s.role), s.count)) for s in stack.roles))


def clusters() -> Iterator[object]:
    for name in Variant:
        topology = derive(load(PROJECT, name))
        for cluster in topology.clusters:
            yield pytest.param(topology, cluster, id=f"{name}-{cluster.name}")
    for path in sorted((PROJECT / "stacks" / "examples").glob("Pulumi.*.yaml")):
        example = path.stem.removeprefix("Pulumi.")
        topology = derive(parse(example, yaml.safe_load(path.read_text())["config"][CONFIG_KEY]))
        for cluster in topology.clusters:
            yield pytest.param(topology, cluster, id=f"{example}-{cluster.name}")


every_cluster = pytest.mark.parametrize(("topology", "cluster"), list(clusters()))


def newest_schema() -> str:
    """The newest schema that the host's Pacemaker knows: older hosts lack that of the guests' Pacemaker 3."""
    known = [
        match.groups() for p in SCHEMAS.glob("*.rng") if (match := re.fullmatch(r"pacemaker-(\d+)\.(\d+)", p.stem))
    ]
    major, minor = max((int(major), int(minor)) for major, minor in known)
    return f"pacemaker-{major}.{minor}"


def live(topology: Topology, cluster: Cluster) -> ET.Element:
    """The document as the CIB of a quorate cluster whose members are all online and on which nothing runs yet."""
    root = ET.fromstring(cib.document(topology, cluster, managed(topology)))
    root.set("validate-with", min(newest_schema(), cib.SCHEMA))
    root.set("have-quorum", "1")
    nodes, status = root.find("configuration/nodes"), root.find("status")
    assert nodes is not None
    assert status is not None
    for node in cluster.members:
        names = {"id": str(corosync.nodeid(node)), "uname": node.name}
        ET.SubElement(nodes, "node", names)
        joined = {
            "in_ccm": "true",
            "crmd": "online",
            "join": "member",
            "expected": "member",
            "crm-debug-origin": "test",
        }
        ET.SubElement(status, "node_state", {**names, **joined})
    return root


def placed(root: ET.Element, tmp_path: Path) -> dict[str, list[str]]:
    """Where the scheduler would start each resource; clone instances under their primitive's name."""
    file = tmp_path / "live.xml"
    file.write_text(ET.tostring(root, encoding="unicode"))
    done = subprocess.run([str(SIMULATE), "--run", "--xml-file", file], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if match := re.match(r"\s+\* Start\s+(\S+?)(?::\d+)?\s+\( +(\S+?) +\)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


@needs_pacemaker
@every_cluster
def test_crm_verify_has_nothing_to_say(topology: Topology, cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "cib.xml"
    file.write_text(ET.tostring(live(topology, cluster), encoding="unicode"))
    done = subprocess.run([str(VERIFY), "--xml-file", file, "-VV"], capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if "info" not in line and "notice" not in line]
    assert (done.returncode, said) == (0, [])


@needs_pacemaker
def test_crm_verify_would_have_something_to_say(tmp_path: Path) -> None:
    topology = derive(load(PROJECT, "collapsed"))
    root = live(topology, topology.clusters[0])
    constraint = root.find(".//rsc_colocation")
    assert constraint is not None
    constraint.set("with-rsc", "nobody")
    file = tmp_path / "cib.xml"
    file.write_text(ET.tostring(root, encoding="unicode"))
    assert subprocess.run([str(VERIFY), "--xml-file", file], capture_output=True, check=False).returncode != 0


@needs_pacemaker
@every_cluster
def test_every_resource_starts_at_once_and_where_it_belongs(
    topology: Topology, cluster: Cluster, tmp_path: Path
) -> None:
    starts = placed(live(topology, cluster), tmp_path)
    members = {node.name for node in cluster.members}
    for resource in managed(topology):
        homes = sorted(node.name for node in cluster.members if resource.service in node.services)
        assert sorted(starts.get(resource.service, [])) == homes
    for vip in topology.vips:
        if set(vip.nodes) <= members:
            (owner,) = starts[vip.resource]
            assert owner in starts["haproxy"]
            assert vip.prefers in (None, owner)
    for device in fencing.DEVICES:
        assert set(starts[device]) <= members
    for node in cluster.remotes:
        assert set(starts[node.name]) <= members


@every_cluster
def test_every_node_of_a_cluster_can_be_fenced(topology: Topology, cluster: Cluster) -> None:
    root = ET.fromstring(cib.document(topology, cluster, managed(topology)))
    levels = {level.get("target"): (level.get("devices") or "").split(",") for level in root.iter("fencing-level")}
    devices = {p.get("id"): p for p in root.iter("primitive") if p.get("class") == "stonith"}
    for node in (*cluster.members, *cluster.remotes):
        # one device would leave a VM off that was off before it was rebooted (reference/fencing.md)
        assert len(levels[node.name]) == 2
        for device in levels[node.name]:
            maps = devices[device].find(".//nvpair[@name='pcmk_host_map']")
            assert maps is not None
            assert dict(pair.split(":") for pair in (maps.get("value") or "").split(";"))[node.name] == node.domain


def test_every_vm_of_a_stack_can_be_fenced_by_one_cluster() -> None:
    for name in Variant:
        topology = derive(load(PROJECT, name))
        if topology.clusters:
            targets = [node.name for cluster in topology.clusters for node in fencing.targets(topology, cluster)]
            assert sorted(targets) == sorted(node.name for node in topology.nodes)


@every_cluster
def test_no_promotable_resource_has_a_monitor_without_a_role(topology: Topology, cluster: Cluster) -> None:
    root = ET.fromstring(cib.document(topology, cluster, managed(topology)))
    for clone in root.iter("clone"):
        if clone.find("meta_attributes/nvpair[@name='promotable']") is not None:
            roles = {op.get("role") for op in clone.iter("op") if op.get("name") == "monitor"}
            assert roles == {"Promoted", "Unpromoted"}


@every_cluster
def test_every_element_has_an_id_of_its_own(topology: Topology, cluster: Cluster) -> None:
    root = ET.fromstring(cib.document(topology, cluster, managed(topology)))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_the_document_does_not_grow_with_computes_times_resources() -> None:
    def constraints(computes: int) -> int:
        topology = derive(sized(load(PROJECT, "collapsed"), compute=computes))
        document = ET.fromstring(cib.document(topology, topology.clusters[0], managed(topology)))
        return len(document.findall("configuration/constraints/*"))

    assert constraints(1) == constraints(100)


def test_another_controller_changes_no_other_nodes_id() -> None:
    stack = load(PROJECT, "collapsed")
    few, many = derive(stack), derive(sized(stack, controller=5))
    ids = {node.name: corosync.nodeid(node) for node in many.nodes}
    assert len(set(ids.values())) == len(ids)
    assert all(ids[node.name] == corosync.nodeid(node) for node in few.nodes if node.role is Role.CONTROLLER)
