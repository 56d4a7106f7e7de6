"""Bring database and queue back after all their members stopped, and say what was decided and why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from components.variant import Service
from halab import hypervisors, recover
from halab.actions import cloud
from halab.display import text
from halab.display.recover import decision_lines, seen_table
from halab.errors import DONE, FAILED, HalabError, RefusedError
from halab.recover import Decision, What, carry_out
from halab.stacks import admission
from halab.workspace import Workspace

_ASKED = (Service.GALERA, Service.RABBITMQ)


def run(workspace: Workspace, *, trust: str, dry_run: bool, as_json: bool) -> int:
    members = {node.name for service in _ASKED for node in workspace.topology.voters(service)}
    if trust and trust not in members:
        raise RefusedError(
            f"--trust: {trust!r}: no member of database or queue; there are {', '.join(sorted(members))}"
        )
    hypervisors.reach(workspace)
    with nullcontext() if dry_run else admission.alone(workspace):
        return asyncio.run(_run(workspace, trust, dry_run, as_json))


async def _run(workspace: Workspace, trust: str, dry_run: bool, as_json: bool) -> int:
    topology, console = workspace.topology, text.console(error=as_json)
    async with cloud.remote(workspace) as remote:
        seen = await carry_out.look(topology, remote.run)
        console.print(seen_table(seen))
        mine = [service for service in _ASKED if not topology.managed(service)]
        databases = seen.databases
        if Service.GALERA in mine and not dry_run:
            databases = await carry_out.positions(remote.run, databases)
        decisions = {
            service: recover.galera(databases, trust)
            if service is Service.GALERA
            else recover.rabbitmq(seen.queues, trust)
            for service in mine
        }
        for service in _ASKED:
            if service in mine:
                console.print(decision_lines(service, decisions[service]))
            else:
                console.print(f"{service}: Pacemaker brings it back by itself; what it does: ./halab status")
        problem = "" if dry_run else await _carry_out(workspace, remote.run, decisions, console)
    refused = [service for service, decision in decisions.items() if decision.what is What.REFUSE]
    if problem:
        console.print(Text(problem, style="bold red"))
    if refused:
        again = f"./halab recover --stack {workspace.stack} --trust NODE"
        console.print(f"{' and '.join(refused)}: not recovered; if you know whose data is right: {again}")
    if as_json:
        document = {
            "stack": workspace.stack,
            "seen": {"galera": [asdict(one) for one in databases], "rabbitmq": [_plain(one) for one in seen.queues]},
            "decisions": {str(service): asdict(decision) for service, decision in decisions.items()},
            "carried_out": not dry_run,
            "problem": problem,
        }
        print(json.dumps(document, indent=1))
    return FAILED if refused or problem else DONE


def _plain(one: recover.Queue) -> dict[str, object]:
    return {**asdict(one), "members": sorted(one.members), "running": sorted(one.running)}


async def _carry_out(
    workspace: Workspace, run: carry_out.Run, decisions: Mapping[Service, Decision], console: Console
) -> str:
    """Both clusters at once; what went wrong, a line each."""

    def say(line: str) -> None:
        console.print(Text(f"  {line}"))

    jobs = []
    for service, decision in decisions.items():
        if decision.what is not What.REFUSE:
            jobs.append(
                carry_out.galera(workspace.topology, run, decision, say)
                if service is Service.GALERA
                else carry_out.rabbitmq(run, decision, say)
            )
    ends = await asyncio.gather(*jobs, return_exceptions=True)
    errors = [end for end in ends if isinstance(end, BaseException)]
    for error in errors:
        if not isinstance(error, (HalabError, OSError)):
            raise error
    return "\n".join(str(error) for error in errors)
