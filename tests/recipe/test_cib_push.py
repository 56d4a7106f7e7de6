"""What a push changes in a live CIB: the merge that the recipe runs, and Pacemaker's own crm_diff on its result."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from components.cluster import cib
from components.plan import managed
from components.topology import Topology, derive
from components.variant import Role, load

PROJECT = Path(__file__).resolve().parents[2]
MERGE = PROJECT / "components" / "cluster" / "files" / "cib_merge.py"
DIFF = shutil.which("crm_diff")
pytestmark = pytest.mark.skipif(DIFF is None, reason="crm_diff is absent: install pacemaker-cli-utils")
TRANSIENT = """<node_state id="1001" uname="controller-1"><transient_attributes id="1001"><instance_attributes id="s-1">
<nvpair id="s-1-galera" name="master-galera" value="100"/></instance_attributes></transient_attributes></node_state>"""


def topology(computes: int = 1) -> Topology:
    stack = load(PROJECT, "collapsed")
    roles = (replace(s, count=computes) if s.role is Role.COMPUTE else s for s in stack.roles)
    return derive(replace(stack, roles=tuple(roles)))


def wanted(of: Topology) -> str:
    return cib.document(of, of.clusters[0], managed(of))


def merge(live: ET.Element, document: str, tmp_path: Path) -> ET.Element:
    """What the recipe makes of a live CIB and a document."""
    (tmp_path / "live.xml").write_text(ET.tostring(live, encoding="unicode"))
    (tmp_path / "wanted.xml").write_text(document)
    command = [sys.executable, "-IS", str(MERGE), str(tmp_path / "live.xml"), str(tmp_path / "wanted.xml")]
    return ET.fromstring(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def difference(old: ET.Element, new: ET.Element, tmp_path: Path) -> str:
    """The patch that the recipe would push, "" for none."""
    for name, tree in (("old", old), ("new", new)):
        (tmp_path / f"{name}.xml").write_text(ET.tostring(tree, encoding="unicode"))
    arguments = ["--no-version", "--original", str(tmp_path / "old.xml"), "--new", str(tmp_path / "new.xml")]
    done = subprocess.run([str(DIFF), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == (1 if done.stdout.strip() else 0), done.stderr
    return done.stdout.strip()


@pytest.fixture
def running(tmp_path: Path) -> ET.Element:
    """The CIB of a cluster that has formed and taken the document, with what the cluster wrote into it itself."""
    of = topology()
    root = merge(ET.fromstring(cib.initial(of, of.clusters[0])), wanted(of), tmp_path)
    options, nodes, status = (root.find(path) for path in (".//cluster_property_set", ".//nodes", "status"))
    assert options is not None
    assert nodes is not None
    assert status is not None
    for name, value in (("dc-version", "3.0.0-3.0.0"), ("have-watchdog", "false")):
        ET.SubElement(options, "nvpair", id=f"cib-bootstrap-options-{name}", name=name, value=value)
    node = ET.SubElement(nodes, "node", id="1001", uname="controller-1")
    attributes = ET.SubElement(node, "instance_attributes", id="nodes-1001")
    ET.SubElement(attributes, "nvpair", id="nodes-1001-standby", name="standby", value="on")
    status.append(ET.fromstring(TRANSIENT))
    return root


def test_the_first_push_turns_fencing_on_and_brings_every_resource(tmp_path: Path) -> None:
    of = topology()
    before = ET.fromstring(cib.initial(of, of.clusters[0]))
    patch = difference(before, merge(before, wanted(of), tmp_path), tmp_path)
    for part in ("stonith-enabled", "fence-a", "galera-clone", "vip-galera", "compute-1", "fencing-topology"):
        assert part in patch


def test_a_second_push_changes_nothing(running: ET.Element, tmp_path: Path) -> None:
    again = merge(running, wanted(topology()), tmp_path)
    assert difference(running, again, tmp_path) == ""


def test_what_the_cluster_wrote_stays(running: ET.Element, tmp_path: Path) -> None:
    patch = difference(running, merge(running, wanted(topology(computes=2)), tmp_path), tmp_path)
    assert "compute-2" in patch
    for own in ("standby", "master-galera", "dc-version", "have-watchdog"):
        assert own not in patch


def test_what_left_the_document_leaves_the_cluster_and_nothing_else_changes(
    running: ET.Element, tmp_path: Path
) -> None:
    more = merge(running, wanted(topology(computes=2)), tmp_path)
    less = merge(more, wanted(topology()), tmp_path)
    assert difference(running, less, tmp_path) == ""


def test_an_operators_ban_and_a_pause_of_fencing_end_with_the_next_push(running: ET.Element, tmp_path: Path) -> None:
    changed = copy.deepcopy(running)
    enabled, constraints = changed.find(".//nvpair[@name='stonith-enabled']"), changed.find(".//constraints")
    assert enabled is not None
    assert constraints is not None
    enabled.set("value", "false")
    ET.SubElement(constraints, "rsc_location", id="cli-ban", rsc="vip-galera", node="controller-1", score="-INFINITY")
    assert difference(running, merge(changed, wanted(topology()), tmp_path), tmp_path) == ""
