"""What a verification makes of a cluster: `fixtures/crm_mon.xml` is crm_mon of a healthy default stack, as it was."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from components.cluster.fencing import targets
from components.secrets import Secrets
from components.topology import Topology, derive
from components.variant import load
from halab import crm
from halab.actions.verify import line
from halab.verify import Context, Finding, Report, run
from halab.verify.questions.cluster import absent, fencing, misplaced

ROOT = Path(__file__).parents[2]
XML = (Path(__file__).parent / "fixtures" / "crm_mon.xml").read_text()


@pytest.fixture
def topology() -> Topology:
    return derive(load(ROOT, "collapsed"))


def problems(topology: Topology, xml: str) -> list[str]:
    cluster, state = topology.clusters[0], crm.parse(xml)
    return [*absent(cluster, state), *misplaced(topology, cluster, state)]


def edited(path: str, **attributes: str) -> str:
    """The healthy cluster's XML with attributes of the one element at `path` changed."""
    root = etree.fromstring(XML.encode())
    (element,) = root.findall(path)
    for name, value in attributes.items():
        element.set(name, value)
    return etree.tostring(root, encoding="unicode")


def test_a_healthy_cluster_has_nothing_to_mend(topology: Topology) -> None:
    assert problems(topology, XML) == []


@pytest.mark.parametrize(
    ("path", "attributes", "said"),
    [
        ("summary/current_dc", {"with_quorum": "false"}, "no quorum"),
        ("summary/cluster_options", {"maintenance-mode": "true"}, "maintenance mode"),
        ("nodes/node[@name='controller-2']", {"online": "false"}, "controller-2 is OFFLINE"),
        ("nodes/node[@name='controller-2']", {"unclean": "true"}, "controller-2 is UNCLEAN"),
        ("nodes/node[@name='compute-1']", {"online": "false"}, "compute-1 is OFFLINE"),
        ("nodes/node[@name='compute-1']", {"name": "compute-9"}, "compute-9 (remote) is in the cluster and not"),
        ("resources/resource[@id='vip-galera']", {"active": "false"}, "vip-galera: on no node"),
        ("resources/resource[@id='vip-galera']", {"blocked": "true"}, "vip-galera: failed or blocked"),
        ("resources/resource[@id='vip-galera']", {"managed": "false"}, "vip-galera: not managed"),
        ("resources/resource[@id='fence-a']", {"active": "false"}, "fence-a: not started"),
        ("resources/resource[@id='compute-1']", {"active": "false"}, "compute-1: its connection is not started"),
        (
            "resources/clone[@id='galera-clone']/resource[1]",
            {"role": "Unpromoted"},
            "galera: Promoted on ",
        ),
        ("resources/clone[@id='rabbitmq-clone']/resource[1]", {"active": "false"}, "rabbitmq: started on "),
    ],
)
def test_each_fault_of_a_cluster_is_named(topology: Topology, path: str, attributes: dict[str, str], said: str) -> None:
    found = problems(topology, edited(path, **attributes))
    assert any(said in problem for problem in found), found


def test_what_is_not_crm_mons_xml_says_what_came_instead() -> None:
    with pytest.raises(ValueError, match="cluster is not available"):
        crm.parse("error: cluster is not available on this node")


def context(topology: Topology, tmp_path: Path) -> Context:
    async def refuse(node: str, script: str) -> str:
        raise OSError(f"{node} does not answer")

    from datetime import datetime

    return Context(topology, refuse, Secrets(b"s" * 32, datetime(2026, 1, 1)), tmp_path / "ca.pem", limit=0.1)


def test_a_cloud_that_cannot_be_asked_fails_every_question_and_raises_nothing(
    topology: Topology, tmp_path: Path
) -> None:
    async def question(context: Context) -> list[Finding]:
        """Whether it answers."""
        await context.run("controller-1", "true")
        return [Finding("answers", True, "yes")]

    report = asyncio.run(run(context(topology, tmp_path), [question]))
    assert not report.ok
    assert "controller-1 does not answer" in report.findings[0].evidence


def test_a_verification_without_findings_is_no_success() -> None:
    assert not Report("collapsed", ()).ok


def test_junit_counts_failures_and_survives_control_characters() -> None:
    report = Report("collapsed", (Finding("a", True, "fine"), Finding("b", False, "bad \x1b[31mred\x00")))
    suite = etree.fromstring(report.junit())
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert suite.findtext("testcase[@name='b']/failure") == "bad [31mred"


def test_what_an_architecture_does_not_do_by_design_is_told_and_fails_nothing() -> None:
    aside = Finding("a revoked token is refused everywhere", True, "accepted by b", by_design="plumgrid-2016.md")
    report = Report("cloned", (Finding("a", True, "fine"), aside))
    assert report.ok
    suite = etree.fromstring(report.junit())
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")
    (skipped,) = suite.findall("testcase/skipped")
    assert skipped.get("message") == "by design: plumgrid-2016.md"
    assert "by design (plumgrid-2016.md): accepted by b" in line(aside).plain


def fencing_answers(topology: Topology, tmp_path: Path, foreign: str = "") -> list[Finding]:
    """What is found where each member's fence daemon lists what the member's own cluster may fence, and `foreign`."""

    async def lists(node: str, script: str) -> str:
        cluster = topology.cluster_of(topology.node(node))
        assert cluster is not None
        names = [target.domain for target in targets(topology, cluster)] + [foreign][: bool(foreign)]
        return "".join(f"{name}  uuid on\n" for name in names) + "---\ntrue\n"

    return asyncio.run(fencing(replace(context(topology, tmp_path), run=lists)))


def test_each_cluster_may_fence_its_own_vms_and_no_others(tmp_path: Path) -> None:
    topology = derive(load(ROOT, "segregated"))
    found = fencing_answers(topology, tmp_path)
    assert [finding.ok for finding in found] == [True] * len(topology.clusters)
    assert not any(finding.ok for finding in fencing_answers(topology, tmp_path, foreign="halab-other-database-1"))


def test_a_question_that_a_busy_guest_missed_is_asked_again_and_a_wrong_answer_is_not(
    topology: Topology, tmp_path: Path
) -> None:
    asked = {"busy": 0, "wrong": 0, "dead": 0}

    async def busy(_: Context) -> list[Finding]:
        """Is it there."""
        asked["busy"] += 1
        if asked["busy"] == 1:
            raise TimeoutError("timed out")
        return [Finding("busy", True, "there")]

    async def wrong(_: Context) -> list[Finding]:
        asked["wrong"] += 1
        return [Finding("wrong", False, "two UUIDs")]

    async def dead(_: Context) -> list[Finding]:
        """Does it answer."""
        asked["dead"] += 1
        raise OSError("no route")

    told: list[Finding] = []
    report = asyncio.run(run(context(topology, tmp_path), (busy, wrong, dead), told.append))
    assert asked == {"busy": 2, "wrong": 1, "dead": 3}
    assert [(finding.check, finding.ok) for finding in report.findings] == [
        ("busy", True),
        ("wrong", False),
        ("Does it answer", False),
    ]
    assert sorted(finding.check for finding in told) == ["Does it answer", "busy", "wrong"]
