"""Examine the host, and install what it lacks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.text import Text

from halab import hypervisors
from halab.actions import needs
from halab.display import text
from halab.display.model import table
from halab.embedded.provider import ProviderError
from halab.errors import DONE, REFUSED, RefusedError
from halab.host import doctor as host
from halab.host import pulumi_cli
from halab.host.doctor import Check, Demand, Verdict
from halab.stacks import admission, budget
from halab.workspace import Workspace

_ROOM = frozenset({"memory", "cgroup", "disk"})
_STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def run(workspace: Workspace, *, install: bool, yes: bool, as_json: bool) -> int:
    console = text.console(error=as_json)
    embedded = _embedded(workspace)
    if install or yes:
        packages(workspace, embedded, yes, console, test=True)
        _pulumi(yes, console)
    about_host = host.examine(demand(workspace, embedded))
    about_stack = [*needs.rows(workspace, admission.emulates(workspace)), *_beside_others(workspace)]
    bad = host.failed([*about_host, *about_stack])
    if as_json:
        rows = [
            _row(about, check) for about, checks in (("host", about_host), ("stack", about_stack)) for check in checks
        ]
        print(json.dumps({"ok": not bad, "stack": workspace.stack, "checks": rows}, indent=1))
    else:
        for title, checks in (("this host", about_host), (f"what {workspace.stack} needs of it", about_stack)):
            console.print(Text(title, style="bold underline"))
            console.print(findings(checks))
            console.print()
        console.print(f"{text.counted(len(bad), 'check')} failed" if bad else f"this host can run {workspace.stack}")
    return REFUSED if bad else DONE


def _row(about: str, check: Check) -> dict[str, str]:
    return {"about": about, "name": check.name, "verdict": check.verdict, "seen": check.seen, "mend": check.mend}


def require(workspace: Workspace, hypervisor: hypervisors.Choice, yes: bool, console: Console) -> None:
    """Print what is not as it should be; offer to install what is missing, or install it when `yes`.

    Raises RefusedError where the stack could not run.
    """
    if host.lacks(hypervisor.embedded) and (yes or sys.stdin.isatty()):
        packages(workspace, hypervisor.embedded, yes, console)
    checks = host.examine(demand(workspace, hypervisor.embedded))
    first = not workspace.checkpoint.exists()
    if first:
        for check in checks:
            if check.verdict is Verdict.WARN:
                console.print(Text.assemble(("note: ", "yellow"), f"{check.name}: {_short(check.seen)}"))
    # Whether there is room is for the admission to say, which knows the other stacks.
    if bad := [check for check in host.failed(checks) if check.name not in _ROOM]:
        console.print(findings(bad))
        raise RefusedError(
            f"this host lacks {', '.join(c.name for c in bad)} (above); nothing was created; "
            "mend it, or have it installed (--yes); --no-doctor tries nevertheless"
        )


def _short(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… (./halab doctor has it all)"


def _beside_others(workspace: Workspace) -> list[Check]:
    """What would stand against an up, of the other stacks on this host and of its networks."""
    try:
        at = hypervisors.choose(workspace).name
        found = admission.look(workspace, at, admission.emulates(workspace))
    except (RefusedError, ProviderError) as error:
        return [Check("other stacks", Verdict.FAIL, str(error), "see above")]
    bad = [Check("networks and names", Verdict.FAIL, line, "./halab list") for line in found.clashes]
    bad += [Check("room", Verdict.FAIL, line, "./halab prune, or up --overcommit") for line in found.shortages]
    return bad or [Check("other stacks", Verdict.OK, "it fits beside them")]


def demand(workspace: Workspace, embedded: bool) -> Demand:
    """What the stack asks of the host. A disk's size is its upper limit; the allowance is what a node writes."""
    nodes = workspace.topology.nodes
    images = 2 * len({node.image for node in nodes})
    return Demand(
        memory=budget.memory(workspace.topology, admission.emulates(workspace)),
        disk=images + budget.gib(sum(map(budget.allowance, nodes))),
        embedded=embedded,
        state=workspace.state,
    )


def findings(checks: Iterable[Check]) -> RenderableType:
    made = table("check", "", "seen", "to mend it")
    for check in checks:
        made.add_row(check.name, Text(str(check.verdict), style=_STYLES[check.verdict]), check.seen, check.mend)
    return made


def _embedded(workspace: Workspace) -> bool:
    try:
        return hypervisors.choose(workspace).embedded
    except RefusedError:
        return True


def packages(workspace: Workspace, embedded: bool, yes: bool, console: Console, *, test: bool = False) -> None:
    """Install what is missing, `test`: also what only the tests use, after asking unless `yes`."""

    def ask(plan: list[str]) -> bool:
        for line in plan:
            console.print(f"  {line}")
        return _agreed("install these?", yes)

    log = workspace.state / "log" / "install.log"
    host.mend(embedded, ask, lambda line: console.print(line), log, test=test)


def _pulumi(yes: bool, console: Console) -> None:
    lacking = pulumi_cli.lacking()
    if not lacking:
        return
    if not pulumi_cli.reachable():
        console.print("the Pulumi CLI cannot be fetched from here; the embedded engine is used")
    elif _agreed(f"fetch the Pulumi CLI into {pulumi_cli.home()} ({'; '.join(lacking)})?", yes):
        pulumi_cli.install(lambda line: console.print(line))


def _agreed(question: str, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise RefusedError(f"{question} nobody to ask here: add --yes")
    import typer

    return typer.confirm(question)
