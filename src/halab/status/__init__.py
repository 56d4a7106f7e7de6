"""How a cloud is now: one cheap script per node, and what its answers mean. Pure but for the reading of the script."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.cluster import fencing
from components.topology import Node, Topology
from components.variant import Membership, Service
from halab import crm
from halab.limits import Limit, limits

_SCRIPT = Path(__file__).with_name("gather.sh")
#: Units by which a service is judged where nothing better tells: no clustering of its own, no proxy in front.
UNITS: Mapping[Service, tuple[str, ...]] = {
    Service.NFS: ("nfs-server",),
    Service.GATEWAY: ("dnsmasq", "nftables"),
    Service.MEMCACHED: ("memcached",),
    Service.HAPROXY: ("haproxy",),
    Service.KEEPALIVED: ("keepalived",),
    Service.REDIS: ("redis-server", "redis-sentinel"),
    Service.GARBD: ("garb",),
}


def script(topology: Topology, node: Node) -> str:
    """What to run on the node."""
    values = {
        "MEMBER": "yes" if node.membership is Membership.FULL else "no",
        "SERVICES": " ".join(node.services),
        "UNITS": " ".join(unit for service in node.services for unit in UNITS.get(service, ())),
    }
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
    return exports + _SCRIPT.read_text()


def sections(answer: str) -> dict[str, str]:
    """The script's output by section."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in answer.splitlines():
        if line.startswith("== "):
            current = found.setdefault(line[3:], [])
        else:
            current.append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """One node: libvirt's word for its VM; what it said by section, or why it did not."""

    vm: str
    said: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class NodeLine:
    """`cluster`: Pacemaker's word for it, "" where it belongs to no cluster."""

    name: str
    vm: str
    cluster: str
    up: int | None
    failed_units: tuple[str, ...]
    problem: str
    well: bool


@dataclass(frozen=True, slots=True)
class Member:
    """One node's part in a service; `state` in the words of who supervises it."""

    node: str
    state: str
    well: bool


@dataclass(frozen=True, slots=True)
class ServiceLine:
    """`how`: who supervises it; `note`: what concerns all members."""

    service: str
    how: str
    members: tuple[Member, ...]
    note: str
    well: bool


@dataclass(frozen=True, slots=True)
class VipLine:
    """One VIP; `owner`: the node that has it (more than one with commas), or "nobody"."""

    name: str
    address: str
    owner: str
    well: bool


@dataclass(frozen=True, slots=True)
class FenceLine:
    """One node that can be fenced, by how many devices; `proof`: seconds of the last proof, None without one."""

    target: str
    devices: int
    started: bool
    proof: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The whole screen."""

    stack: str
    nodes: tuple[NodeLine, ...]
    vips: tuple[VipLine, ...]
    services: tuple[ServiceLine, ...]
    fencing: tuple[FenceLine, ...]
    clusters: tuple[str, ...]
    problems: tuple[str, ...]
    limits: tuple[Limit, ...] = ()

    @property
    def well(self) -> bool:
        judged = (self.nodes, self.vips, self.services)
        return (
            not self.problems
            and all(line.well for lines in judged for line in lines)
            and all(one.started for one in self.fencing)
        )


def report(topology: Topology, answers: Mapping[str, NodeAnswer], proofs: Mapping[str, float]) -> Report:
    """What the answers mean. `proofs`: node to the seconds of the last proof of its fencing."""
    states, problems = _clusters(topology, answers)
    return Report(
        stack=topology.stack.name,
        nodes=tuple(_node(topology, node, answers[node.name], states) for node in topology.nodes),
        vips=tuple(_vips(topology, answers)),
        services=tuple(_services(topology, answers, states)),
        fencing=tuple(_fencing(topology, states, proofs)),
        clusters=tuple(_cluster_words(states)),
        problems=problems,
        limits=limits(topology),
    )


def _clusters(
    topology: Topology, answers: Mapping[str, NodeAnswer]
) -> tuple[dict[str, crm.ClusterState], tuple[str, ...]]:
    """Each cluster as one of its members sees it: one with quorum, if any; and what is wrong with them."""
    states: dict[str, crm.ClusterState] = {}
    problems: list[str] = []
    for cluster in topology.clusters:
        seen = []
        for member in cluster.members:
            try:
                seen.append(crm.parse(answers[member.name].said.get("crm", "")))
            except ValueError:
                continue
        if not seen:
            problems.append(f"cluster {cluster.name}: no member answers for it")
            continue
        states[cluster.name] = state = next((one for one in seen if one.quorum), seen[0])
        if not state.quorum:
            problems.append(f"cluster {cluster.name}: no quorum")
        if state.maintenance:
            problems.append(f"cluster {cluster.name}: in maintenance mode, so nothing is supervised")
        problems += [f"{f.operation} failed on {f.node}: {f.reason}" for f in state.failures]
    return states, tuple(problems)


def _cluster_words(states: Mapping[str, crm.ClusterState]) -> Iterator[str]:
    return (f"{name}: quorum, coordinator {state.dc}" for name, state in states.items() if state.quorum)


def _node(topology: Topology, node: Node, answer: NodeAnswer, states: Mapping[str, crm.ClusterState]) -> NodeLine:
    cluster = ""
    if node.cluster is not None:
        known = states.get(node.cluster)
        cluster = next((n.health for n in known.nodes if n.name == node.name), "unknown") if known else "unknown"
    up = answer.said.get("up", "").strip()
    failed = tuple(answer.said.get("failed", "").split())
    return NodeLine(
        name=node.name,
        vm=answer.vm,
        cluster=cluster,
        up=int(up) if up.isdigit() else None,
        failed_units=failed,
        problem=answer.problem,
        well=answer.vm == "running" and not answer.problem and not failed and cluster in ("", "online"),
    )


def _vips(topology: Topology, answers: Mapping[str, NodeAnswer]) -> Iterator[VipLine]:
    """Owners by the addresses that nodes really have, whoever manages them."""
    for vip in topology.vips:
        owners = [n for n, answer in answers.items() if str(vip.ip) in answer.said.get("addresses", "").split()]
        yield VipLine(vip.name, str(vip.ip), ", ".join(owners) or "nobody", len(owners) == 1)


def _services(
    topology: Topology, answers: Mapping[str, NodeAnswer], states: Mapping[str, crm.ClusterState]
) -> Iterator[ServiceLine]:
    backends = _backends(topology, answers)
    for service in Service:
        nodes = topology.running(service)
        if not nodes:
            continue
        how = "Pacemaker" if topology.managed(service) else "systemd"
        members = tuple(_member(topology, service, node, answers[node.name], states, backends) for node in nodes)
        note = _note(service, answers, nodes)
        yield ServiceLine(service, how, members, note, all(member.well for member in members))


def _member(
    topology: Topology,
    service: Service,
    node: Node,
    answer: NodeAnswer,
    states: Mapping[str, crm.ClusterState],
    backends: Mapping[tuple[str, str], str],
) -> Member:
    if answer.problem:
        return Member(node.name, "unreachable", False)
    if service is Service.GALERA:
        said = dict(line.split("\t", 1) for line in answer.said.get("galera", "").splitlines() if "\t" in line)
        state = said.get("wsrep_local_state_comment", "not answering")
        if said and said.get("wsrep_cluster_status") != "Primary":
            state += f", {said.get('wsrep_cluster_status', 'no')} component"
        wanted = str(len(topology.voters(Service.GALERA)))
        well = state == "Synced" and said.get("wsrep_cluster_size") == wanted
        return Member(node.name, state, well)
    if service in (Service.RABBITMQ, Service.TIEBREAKER):
        lines = answer.said.get("rabbitmq", "").splitlines()
        peers = sum(line.startswith("peer ") for line in lines)
        wanted_peers = len(topology.voters(Service.RABBITMQ)) - 1
        if "listens" not in lines:
            return Member(node.name, "not listening", False)
        return Member(node.name, f"{peers} of {wanted_peers} peers", peers == wanted_peers)
    if (service, node.name) in backends:
        state = backends[service, node.name]
        return Member(node.name, state, state == "UP")
    if topology.managed(service) and node.cluster is not None and node.cluster in states:
        started = node.name in states[node.cluster].where(service)
        return Member(node.name, "started" if started else "stopped", started)
    units = dict(line.split(" ", 1) for line in answer.said.get("units", "").splitlines() if " " in line)
    bad = [f"{unit} {units.get(unit, 'unknown')}" for unit in UNITS.get(service, ()) if units.get(unit) != "active"]
    if service not in UNITS:
        return Member(node.name, "not behind a proxy that answers", False)
    return Member(node.name, ", ".join(bad) or "active", not bad)


def _backends(topology: Topology, answers: Mapping[str, NodeAnswer]) -> dict[tuple[str, str], str]:
    """(service, node) to HAProxy's word, from the node that holds the service's VIP, for services that tell no more."""
    found: dict[tuple[str, str], str] = {}
    for vip in topology.vips:
        for answer in answers.values():
            if str(vip.ip) not in answer.said.get("addresses", "").split():
                continue
            for row in csv.DictReader(answer.said.get("haproxy", "").lstrip("# ").splitlines()):
                name, server = row.get("pxname") or "", row.get("svname") or ""
                if name in vip.services and server not in ("FRONTEND", "BACKEND"):
                    found[name, server] = row.get("status") or "unknown"
    return found


def _note(service: Service, answers: Mapping[str, NodeAnswer], nodes: tuple[Node, ...]) -> str:
    if service is not Service.GALERA:
        return ""
    sizes = set()
    for node in nodes:
        for line in answers[node.name].said.get("galera", "").splitlines():
            name, _, value = line.partition("\t")
            if name == "wsrep_cluster_size":
                sizes.add(value)
    return f"size {' and '.join(sorted(sizes))}" if sizes else "no cluster"


def _fencing(
    topology: Topology, states: Mapping[str, crm.ClusterState], proofs: Mapping[str, float]
) -> Iterator[FenceLine]:
    for cluster in topology.clusters:
        state = states.get(cluster.name)
        if state is None:
            continue
        devices = [one for one in state.resources if one.agent.startswith("stonith:")]
        started = bool(devices) and all(len(one.nodes) == 1 for one in devices)
        for node in fencing.targets(topology, cluster):
            yield FenceLine(node.name, len(devices), started, proofs.get(node.name))
