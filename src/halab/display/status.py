"""The screen of `halab status`."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from halab.display.model import table
from halab.display.text import duration
from halab.status import NodeLine, Report


def _word(word: str, well: bool) -> Text:
    return Text(word, style="green" if well else "bold red")


def screen(report: Report) -> RenderableType:
    """Words and colour: what is well is green, what is not red."""
    nodes = table("node", "VM", "cluster", "up", "")
    for node in report.nodes:
        nodes.add_row(
            node.name,
            _word(node.vm, node.vm == "running"),
            _word(node.cluster, node.cluster == "online"),
            "" if node.up is None else duration(node.up),
            Text(_trouble(node), style="red"),
        )
    vips = table("VIP", "address", "held by")
    for vip in report.vips:
        vips.add_row(vip.name, vip.address, _word(vip.owner, vip.well))
    services = table("service", "by", "members", "")
    for service in report.services:
        members = Text("  ").join(
            Text.assemble(f"{member.node} ", _word(member.state, member.well)) for member in service.members
        )
        services.add_row(service.service, service.how, members, service.note)
    parts: list[RenderableType] = [nodes, "", vips, "", services]
    if report.fencing:
        fencing = table("fences", "devices", "", "proven in")
        for one in report.fencing:
            proof = f"{one.proof:.1f} s" if one.proof is not None else Text("never", style="yellow")
            fencing.add_row(
                one.target, str(one.devices), _word("started" if one.started else "not started", one.started), proof
            )
        parts += ["", fencing]
    parts += ["", *(Text(f"cluster {line}") for line in report.clusters)]
    parts += [Text(problem, style="bold red") for problem in report.problems]
    parts += [Text(f"by design, {one.name}: {one.text} ({one.source})", style="dim") for one in report.limits]
    parts.append(_word(f"{report.stack} is well" if report.well else f"{report.stack} is not well", report.well))
    return Group(*parts)


def _trouble(node: NodeLine) -> str:
    units = f"failed units: {', '.join(node.failed_units)}" if node.failed_units else ""
    return "; ".join(part for part in (node.problem, units) if part)
