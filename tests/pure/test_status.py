"""What `halab status` makes of the nodes' answers."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from components.cluster import fencing
from components.topology import Topology, derive
from components.variant import Membership, Service, load
from halab import status
from halab.display.status import screen
from halab.status import NodeAnswer

ROOT = Path(__file__).parents[2]
HEALTHY_GALERA = "\n".join(
    f"{name}\t{value}"
    for name, value in {
        "wsrep_cluster_size": "3",
        "wsrep_cluster_status": "Primary",
        "wsrep_local_state_comment": "Synced",
        "wsrep_ready": "ON",
    }.items()
)


@pytest.fixture
def topology() -> Topology:
    return derive(load(ROOT, "collapsed"))


def crm_mon(topology: Topology, *, index: int = 0, offline: str = "", quorum: bool = True) -> str:
    """crm_mon 3.0's XML of a cluster of the cloud; one node may be offline."""
    cluster = topology.clusters[index]

    def node(name: str, kind: str) -> str:
        return f'<node name="{name}" online="{str(name != offline).lower()}" type="{kind}"/>'

    def resource(id_: str, agent: str, on: str, role: str = "Started") -> str:
        return (
            f'<resource id="{id_}" resource_agent="{agent}" role="{role}" active="true" failed="false" blocked="false" '
            f'managed="true"><node name="{on}"/></resource>'
        )

    members = [member.name for member in cluster.members if member.name != offline]
    clones = "".join(
        f'<clone id="{service}-clone">'
        + "".join(resource(service, f"x:{service}", name) for name in members)
        + "</clone>"
        for service in sorted(topology.stack.cluster.manages)
        if service in cluster.members[0].services
    )
    devices = "".join(resource(device, "stonith:fence_xvm", members[0]) for device in fencing.DEVICES)
    return (
        f'<pacemaker-result><summary><current_dc name="{members[0]}" with_quorum="{str(quorum).lower()}"/>'
        '<cluster_options maintenance-mode="false"/></summary><nodes>'
        + "".join(node(n.name, "member") for n in cluster.members)
        + "".join(node(n.name, "remote") for n in cluster.remotes)
        + f"</nodes><resources>{devices}{clones}</resources></pacemaker-result>"
    )


def haproxy(topology: Topology, down: tuple[str, str] | None = None) -> str:
    rows = ["# pxname,svname,status"]
    for vip in topology.vips:
        for service in vip.services:
            rows.append(f"{service},FRONTEND,OPEN")
            for node in topology.running(service):
                rows.append(f"{service},{node.name},{'DOWN' if down == (service, node.name) else 'UP'}")
    return "\n".join(rows)


def healthy(topology: Topology) -> dict[str, NodeAnswer]:
    """All VIPs on the second node that may hold them."""
    answers = {}
    clusters = [cluster.name for cluster in topology.clusters]
    for node in topology.nodes:
        units = "".join(f"{unit} active\n" for s in node.services for unit in status.UNITS.get(s, ()))
        said = {"up": "100", "addresses": str(node.ip), "units": units, "failed": ""}
        if node.membership is Membership.FULL and node.cluster:
            said["crm"] = crm_mon(topology, index=clusters.index(node.cluster))
        own = {
            Service.GALERA: HEALTHY_GALERA,
            Service.RABBITMQ: "listens\npeer 10.0.0.1\npeer 10.0.0.2",
            Service.HAPROXY: haproxy(topology),
        }
        said |= {str(service): text for service, text in own.items() if service in node.services}
        said["addresses"] += "".join(f"\n{vip.ip}" for vip in topology.vips if node.name == vip.nodes[1])
        answers[node.name] = NodeAnswer("running", said)
    return answers


def change(answers: dict[str, NodeAnswer], node: str, **sections: str) -> None:
    answers[node] = replace(answers[node], said={**answers[node].said, **sections})


def render(report: status.Report) -> str:
    out = io.StringIO()
    Console(file=out, width=200, highlight=False).print(screen(report))
    return out.getvalue()


def test_a_cloud_of_several_clusters_is_judged_cluster_by_cluster() -> None:
    topology = derive(load(ROOT, "segregated"))
    answers = healthy(topology)
    report = status.report(topology, answers, {})
    assert report.well, render(report)
    assert [line.partition(":")[0] for line in report.clusters] == ["control", "data", "proxy", "queue"]
    assert sorted(one.target for one in report.fencing) == sorted(node.name for node in topology.nodes)
    data = next(index for index, cluster in enumerate(topology.clusters) if cluster.name == "data")
    for node in topology.clusters[data].members:
        change(answers, node.name, crm=crm_mon(topology, index=data, quorum=False))
    assert status.report(topology, answers, {}).problems == ("cluster data: no quorum",)


def test_a_healthy_cloud_is_well_and_fits_one_screen(topology: Topology) -> None:
    report = status.report(topology, healthy(topology), {"controller-1": 13.4})
    assert report.well, render(report)
    shown = render(report)
    assert "collapsed is well" in shown
    assert "13.4 s" in shown
    assert shown.count("\n") <= 48


def test_a_node_that_is_off_is_named_with_what_libvirt_says(topology: Topology) -> None:
    answers = healthy(topology)
    answers["controller-1"] = NodeAnswer("shut off", problem="VM is shut off")
    for name in ("controller-2", "controller-3"):
        change(answers, name, crm=crm_mon(topology, offline="controller-1"))
    report = status.report(topology, answers, {})
    assert not report.well
    line = next(node for node in report.nodes if node.name == "controller-1")
    assert (line.vm, line.cluster, line.well) == ("shut off", "OFFLINE", False)
    galera = next(service for service in report.services if service.service == "galera")
    assert [member.well for member in galera.members] == [False, True, True]


def test_a_vip_on_two_nodes_is_not_well(topology: Topology) -> None:
    answers = healthy(topology)
    change(answers, "controller-3", addresses=str(topology.vips[0].ip))
    vip = status.report(topology, answers, {}).vips[0]
    assert (vip.owner, vip.well) == ("controller-2, controller-3", False)


def test_a_galera_member_outside_the_primary_component_is_not_well(topology: Topology) -> None:
    answers = healthy(topology)
    change(answers, "controller-3", galera=HEALTHY_GALERA.replace("\tPrimary", "\tnon-Primary"))
    report = status.report(topology, answers, {})
    galera = next(service for service in report.services if service.service == "galera")
    assert galera.members[2].state == "Synced, non-Primary component"
    assert not galera.well


def test_a_rabbitmq_node_that_lost_a_peer_is_not_well(topology: Topology) -> None:
    answers = healthy(topology)
    change(answers, "controller-1", rabbitmq="listens\npeer 10.0.0.2")
    rabbitmq = next(s for s in status.report(topology, answers, {}).services if s.service == "rabbitmq")
    assert rabbitmq.members[0].state == "1 of 2 peers"
    assert not rabbitmq.well


def test_an_api_is_judged_by_the_proxy_that_holds_its_vip(topology: Topology) -> None:
    answers = healthy(topology)
    change(answers, "controller-2", haproxy=haproxy(topology, down=("keystone", "controller-3")))
    keystone = next(s for s in status.report(topology, answers, {}).services if s.service == "keystone")
    assert [(member.state, member.well) for member in keystone.members] == [
        ("UP", True),
        ("UP", True),
        ("DOWN", False),
    ]


def test_the_cluster_is_seen_through_a_member_with_quorum_not_one_that_is_cut_off(topology: Topology) -> None:
    answers = healthy(topology)
    change(answers, "controller-1", crm=crm_mon(topology, offline="controller-2", quorum=False))
    assert status.report(topology, answers, {}).problems == ()


def test_a_cluster_that_nobody_answers_for_is_a_problem(topology: Topology) -> None:
    answers = {node.name: NodeAnswer("running", {"up": "1"}) for node in topology.nodes}
    report = status.report(topology, answers, {})
    assert "no member answers" in report.problems[0]
    assert not report.well


def test_fence_devices_that_were_never_fired_say_so(topology: Topology) -> None:
    assert "never" in render(status.report(topology, healthy(topology), {}))


@pytest.mark.parametrize("variant", ["collapsed", "segregated", "keepalived", "cloned", "endpoint"])
def test_every_service_of_every_variant_can_be_judged(variant: str) -> None:
    topology = derive(load(ROOT, variant))
    answers = {node.name: NodeAnswer("shut off", problem="VM is shut off") for node in topology.nodes}
    report = status.report(topology, answers, {})
    assert {line.service for line in report.services} == {str(s) for node in topology.nodes for s in node.services}
    assert not report.well


@pytest.mark.skipif(shutil.which("ss") is None, reason="iproute2 is not installed")
def test_the_script_runs_on_a_node_where_nothing_works_and_still_answers_every_section(topology: Topology) -> None:
    script = status.script(topology, topology.node("controller-1"))
    done = subprocess.run(["bash", "-s"], input=script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert {"up", "addresses", "units", "failed", "crm", "galera", "rabbitmq", "haproxy"} <= set(
        status.sections(done.stdout)
    )
