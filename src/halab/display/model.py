"""A stack's VMs and steps as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from components.cluster.constraints import Constraints
from components.dot import NO_CLUSTER
from components.steps import StepGraph
from components.topology import Topology
from components.variant import Membership
from halab.display.text import counted, duration


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def topology(found: Topology) -> RenderableType:
    """VMs, networks and VIPs."""
    nodes = table(
        "node", "address", "vCPUs", "MiB", "GiB", "image", "cluster", "services", right=("vCPUs", "MiB", "GiB")
    )
    for node in found.nodes:
        membership = "" if node.membership is Membership.NONE else f"{node.cluster} ({node.membership})"
        nodes.add_row(
            node.name,
            str(node.ip),
            str(node.vcpus),
            str(node.memory),
            str(node.disk),
            node.image,
            membership,
            " ".join(node.services),
        )
    networks = table("network", "CIDR", "bridge", "host's address")
    for network in found.networks:
        networks.add_row(network.key, str(network.cidr), network.bridge, str(network.host.ip))
    vips = table("VIP", "address", "services", "may be held by")
    for vip in found.vips:
        vips.add_row(vip.name, str(vip.ip), " ".join(vip.services), " ".join(vip.nodes))
    stack = found.stack
    head = Text(
        f"{stack.name}: variant {stack.variant}, {counted(len(found.nodes), 'VM')}, "
        f"{found.memory / 1024:.1f} GiB of memory, {sum(node.disk for node in found.nodes)} GiB of disk at most"
    )
    return Group(head, "", nodes, "", networks, "", vips)


def steps(plan: StepGraph, seconds: Mapping[str, float] | None = None) -> RenderableType:
    """The waves, and the critical path: by the seconds each step took in earlier runs, else by their number."""
    waves = table("wave", "steps", right=("wave",))
    for number, wave in enumerate(plan.waves(), 1):
        waves.add_row(str(number), "  ".join(_grouped(step.name for step in wave)))
    known = seconds if seconds and plan.by_name.keys() <= seconds.keys() else None
    critical = plan.critical_path(known)
    chain = " → ".join(f"{step.name} {known[step.name]:.0f}" if known else step.name for step in critical)
    length = duration(sum(known[step.name] for step in critical)) if known else counted(len(critical), "step")
    return Group(
        Text(f"{counted(len(plan.steps), 'step')} in {counted(len(plan.waves()), 'wave')}"),
        "",
        waves,
        "",
        Text(f"critical path, {length}: {chain}"),
    )


def constraints(found: Iterable[Constraints], stack: str) -> RenderableType:
    """Each cluster's resources, orders, colocations, locations and fencing levels."""
    parts: list[RenderableType] = []
    for one in found:
        resources = table("resource", "agent", "kind", "instances", right=("instances",))
        for resource in one.resources:
            resources.add_row(resource.id, resource.agent, resource.kind, str(resource.instances))
        orders = table("first", "then", "action", "kind")
        for order in one.orders:
            orders.add_row(order.first, order.then, order.action, order.kind)
        together = table("resource", "with", "score")
        for colocation in one.colocations:
            together.add_row(colocation.resource, colocation.with_, colocation.score)
        places = table("resource", "node", "score")
        for location in one.locations:
            places.add_row(location.resource, location.where, location.score)
        levels = table("fenced", "by all of")
        for level in one.levels:
            levels.add_row(level.target, " ".join(level.devices))
        parts.append(Text(f"Pacemaker cluster {one.cluster}", style="bold"))
        for shown in (resources, orders, together, places, levels):
            parts += ["", shown] if shown.row_count else []
        parts.append("")
    return Group(*parts[:-1]) if parts else Text(f"{stack}: {NO_CLUSTER}")


def _grouped(names: Iterable[str]) -> list[str]:
    """`galera.configure@controller-1` and its like on other nodes as `galera.configure@controller-1,2,3`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        action, _, node = name.partition("@")
        role, _, ordinal = node.rpartition("-")
        groups.setdefault((action, role), []).append(ordinal)
    return [f"{action}@{role}-{','.join(ordinals)}" if role else action for (action, role), ordinals in groups.items()]
