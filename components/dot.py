"""A stack drawn: the topology and the step graph as Graphviz dot, the same text for the same stack."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap

from components.cluster.constraints import Constraints
from components.steps import StepGraph
from components.topology import Network, Node, Topology

_HEAD = (
    '  graph [fontname="sans-serif", {graph}];\n  node [fontname="sans-serif", fontsize=11, {node}];\n'
    '  edge [fontname="sans-serif", fontsize=9];\n'
)
_COLOURS = ("#dbeafe", "#dcfce7", "#fef9c3", "#fee2e2", "#f3e8ff", "#e0f2fe", "#ffedd5", "#f1f5f9")


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _digraph(name: str, graph: str, node: str, lines: Iterable[str]) -> str:
    body = "".join(f"  {line}\n" for line in lines)
    return f"digraph {_quote(name)} {{\n{_HEAD.format(graph=graph, node=node)}{body}}}\n"


def steps(graph: StepGraph, title: str = "steps") -> str:
    """Every step, coloured by stage, with an arrow from each step to those after it; gates are doubled boxes."""
    stages = sorted({step.stage for step in graph.steps})
    lines: list[str] = []
    for step in graph.steps:
        colour = _COLOURS[stages.index(step.stage) % len(_COLOURS)]
        shape = ', peripheries=2, style="filled,bold"' if step.is_gate else ""
        lines.append(f"{_quote(step.name)} [fillcolor={_quote(colour)}{shape}];")
    for step in graph.steps:
        lines += [f"{_quote(before)} -> {_quote(step.name)};" for before in sorted(step.after)]
    return _digraph(title, "rankdir=LR, nodesep=0.15, ranksep=0.6", 'shape=box, style="filled,rounded"', lines)


def _label(node: Node) -> str:
    services = ", ".join(node.services)
    return "\n".join([node.name, str(node.ip), f"{node.memory} MiB", *([services] if services else [])])


def _network(network: Network) -> str:
    label = f"{network.key} {network.cidr}\nbridge {network.bridge}"
    return (
        f'{_quote(network.key)} [shape=box, style=filled, fillcolor="#1f2937", fontcolor=white, label={_quote(label)}];'
    )


def topology(plan: Topology) -> str:
    """Nodes by cluster, their feet in the two networks, and the VIPs with those who may hold them."""
    lines = [_network(network) for network in plan.networks]
    placed: set[str] = set()
    for index, cluster in enumerate(plan.clusters):
        lines.append(f"subgraph cluster_{index} {{")
        lines.append(f'  label={_quote("Pacemaker cluster " + cluster.name)}; style=rounded; color="#64748b";')
        for node in (*cluster.members, *cluster.remotes):
            remote = ', style="filled,rounded,dashed"' if node in cluster.remotes else ""
            lines.append(f'  {_quote(node.name)} [label={_quote(_label(node))}, fillcolor="#dbeafe"{remote}];')
            placed.add(node.name)
        lines.append("}")
    for node in plan.nodes:
        if node.name not in placed:
            lines.append(f'{_quote(node.name)} [label={_quote(_label(node))}, fillcolor="#dcfce7"];')
    for node in plan.nodes:
        lines += [f"{_quote(node.name)} -> {_quote(nic.network)} [dir=none];" for nic in node.nics]
    for vip in plan.vips:
        label = f"VIP {vip.name}\n{vip.ip}"
        lines.append(f'{_quote("vip " + vip.name)} [shape=ellipse, fillcolor="#fef9c3", label={_quote(label)}];')
        edge = 'style=dashed, color="#ca8a04", arrowhead=none'
        lines += [f"{_quote('vip ' + vip.name)} -> {_quote(node)} [{edge}];" for node in vip.nodes]
    title = f"{plan.stack.name} ({plan.stack.variant})"
    graph = f"rankdir=TB, nodesep=0.3, ranksep=0.8, labelloc=t, label={_quote(title)}"
    return _digraph(title, graph, 'shape=box, style="filled,rounded"', lines)


def constraints(found: Iterable[Constraints], title: str) -> str:
    """Each Pacemaker cluster's resources: solid arrows order, dashed ones keep together, dotted ones place on nodes."""
    lines: list[str] = []
    for index, one in enumerate(found):
        lines.append(f"subgraph cluster_{index} {{")
        lines.append(f'  label={_quote("Pacemaker cluster " + one.cluster)}; style=rounded; color="#64748b";')
        lines += [f"  {line}" for line in _cluster(one)]
        lines.append("}")
    if not lines:
        lines.append(f"none [shape=note, label={_quote(NO_CLUSTER)}];")
    graph = f"rankdir=LR, nodesep=0.2, ranksep=0.9, labelloc=t, label={_quote(title)}"
    return _digraph(title, graph, 'shape=box, style="filled,rounded", fillcolor="#f1f5f9"', lines)


#: What is said in place of constraints.
NO_CLUSTER = "no Pacemaker cluster, so no resources and no constraints"


def _cluster(one: Constraints) -> Iterable[str]:
    """Its statements; names are made the cluster's own, since two clusters may have resources of one name."""

    def name(of: str) -> str:
        return _quote(f"{one.cluster}/{of}")

    targets = ", ".join(level.target for level in one.levels)
    for resource in one.resources:
        many = f", {resource.instances} instances" if resource.clone else ""
        words = [
            f"{resource.id}{many}",
            resource.agent,
            *([f"fences {targets}"] if resource.fences and targets else []),
        ]
        colour = "#fee2e2" if resource.fences else "#dbeafe" if resource.clone else "#fef9c3"
        double = ", peripheries=2" if resource.clone else ""
        yield f"{name(resource.id)} [label={_quote(chr(10).join(words))}, fillcolor={_quote(colour)}{double}];"
    for order in one.orders:
        what = f"{order.action} first" if order.action != "start" else "first"
        yield f"{name(order.first)} -> {name(order.then)} [label={_quote(f'{what}, {order.kind}')}];"
    for together in one.colocations:
        style = 'style=dashed, color="#ca8a04"'
        label = _quote(f"with {together.score}")
        yield f"{name(together.resource)} -> {name(together.with_)} [{style}, label={label}];"
    for node in dict.fromkeys(location.where for location in one.locations if not location.rule):
        yield f"{name(node)} [label={_quote(node)}, shape=ellipse, fillcolor=white];"
    for index, location in enumerate(one.locations):
        if location.rule:
            words = [
                *wrap(location.resource.replace("|", "| "), 60, break_on_hyphens=False),
                f"{location.score} {location.where}",
            ]
            yield f"{name(f'rule {index}')} [shape=note, fillcolor=white, label={_quote(chr(10).join(words))}];"
        else:
            style = f'style=dotted, color="#64748b", label={_quote(location.score)}'
            yield f"{name(location.resource)} -> {name(location.where)} [{style}];"
