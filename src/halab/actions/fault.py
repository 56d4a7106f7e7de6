"""Faults on purpose: which there are, and what one does to a cloud."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console

from halab import hypervisors
from halab.actions import golden
from halab.actions.experiment import Experiment
from halab.display import fault as display
from halab.display import text
from halab.errors import DONE, FAILED, HalabError, RefusedError
from halab.fault import faults, result
from halab.fault.faults import Fault, Scene
from halab.stacks import admission
from halab.workspace import Workspace


@dataclass(frozen=True, slots=True)
class FaultOptions:
    """`restore`: the snapshot to begin with, "" for the cloud as it is; `limit`: seconds until all must be well again;
    `seed`: of what is left to chance, None for a new one."""

    restore: str = "golden"
    seed: int | None = None
    limit: float = 1800.0
    json: bool = False


def show(workspace: Workspace, *, as_json: bool) -> int:
    topology = workspace.topology
    if as_json:
        rows = [
            {
                "name": fault.name,
                "does": fault.does,
                "expects": fault.expects,
                "applies": not fault.lacking(topology),
                "why_not": fault.lacking(topology),
                "goals": dict(fault.goals(topology)),
            }
            for fault in faults.FAULTS
        ]
        print(json.dumps({"stack": workspace.stack, "faults": rows}, indent=1))
    else:
        text.console().print(display.listing(topology))
    return DONE


def named(workspace: Workspace, name: str) -> Fault:
    """Raises RefusedError for a fault that there is not, or not in this topology."""
    try:
        fault = faults.find(name)
    except KeyError:
        known = ", ".join(fault.name for fault in faults.FAULTS)
        raise RefusedError(f"NAME: {name!r}: there are {known}") from None
    if lacking := fault.lacking(workspace.topology):
        raise RefusedError(f"NAME: {name!r}: not in stack {workspace.stack}: {lacking}")
    return fault


def run(workspace: Workspace, name: str, options: FaultOptions) -> int:
    """Raises RefusedError for a fault that there is not, LockedError while another command changes the stack."""
    fault = named(workspace, name)
    console = text.console(error=options.json)
    with admission.under_fault(workspace):
        if options.restore:
            _restore(workspace, options.restore, console)
        return _carry_out(workspace, fault, options, console)


def watch(workspace: Workspace, command: Sequence[str], options: FaultOptions) -> int:
    """A command in place of a fault; it starts when the probes are calm.

    Raises RefusedError for none, LockedError while another command changes the stack.
    """
    if not command:
        raise RefusedError(
            "COMMAND: none given; for example: ./halab fault watch -- ./halab replace controller-2 --yes"
        )
    with admission.under_fault(workspace):
        return _watch(workspace, command, options)


def _watch(workspace: Workspace, command: Sequence[str], options: FaultOptions) -> int:
    # it is begun before this process enters the stack's network, which the command must find by itself
    begun = subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "sh", *command],
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        text=True,
    )

    async def inject(scene: Scene) -> tuple[str, ...]:
        scene.strike(f"begun: {' '.join(command)}")
        await asyncio.to_thread(begun.communicate, "go\n")
        if begun.returncode:
            raise HalabError(f"{' '.join(command)}: exit {begun.returncode}")
        return ()

    fault = Fault("watch", " ".join(command), "", inject, lambda topology: {})
    try:
        return _carry_out(workspace, fault, options, text.console(error=options.json))
    finally:
        if begun.poll() is None:
            begun.communicate()


def _carry_out(workspace: Workspace, fault: Fault, options: FaultOptions, console: Console) -> int:
    hypervisor = hypervisors.reach(workspace)
    record = workspace.record()
    assert record is not None, "reach() refuses a stack without a record"
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    uri = hypervisor.uri if hypervisor else record.hypervisor
    key = golden.known_key(workspace, "embedded" if hypervisor else "system")
    found = asyncio.run(Experiment(workspace, fault, uri, seed, key, options.limit, console).carry_out())
    path = result.write(workspace, found)
    if options.json:
        print(json.dumps(asdict(found), indent=1))
    else:
        console.print()
        console.print(display.outcome(found))
        console.print(f"kept in {path}")
    return DONE if found.ok else FAILED


def _restore(workspace: Workspace, snapshot: str, console: Console) -> None:
    """A process of its own: this one must have a single thread when it enters the stack's network."""
    command = [str(workspace.project / "halab"), "snapshot", "restore", snapshot, "--stack", workspace.stack]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if done.returncode:
        raise HalabError(
            f"{workspace.stack}: no fault, since the restore of {snapshot} before it ended with {done.returncode}; "
            "a verified ./halab up keeps a golden cloud, and --no-restore takes the cloud as it is"
        )
