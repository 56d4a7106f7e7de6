"""Bring a stack up: host, images, hypervisor, program, fence proof, verification, and what took how long."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from components.variant.problems import nearest, shown
from halab import cpu, engines, hypervisors, impact, networks, sound
from halab.actions import cloud, doctor, golden, image, leave, preview
from halab.actions.interrupt import interruptible
from halab.actions.up_report import Built, Parts, document, note_times, tell, what_next
from halab.display import text
from halab.display.progress import Progress, work
from halab.display.run import RunDisplay
from halab.display.times import times
from halab.embedded.engine.events import Summary
from halab.embedded.hypervisor import Fence, Hypervisor
from halab.errors import DONE, FAILED, RefusedError
from halab.host.probe import virt_type
from halab.snapshot.store import Place
from halab.stacks import admission
from halab.timing import CpuTime, History, RunTimes, dependencies, spent
from halab.workspace import Record, Workspace, now, write_json


@dataclass(frozen=True, slots=True)
class UpOptions:
    engine: engines.Asked = "auto"
    until: tuple[str, ...] = ()
    verify: bool = True
    fence_proof: bool = True
    doctor: bool = True
    yes: bool = False
    refresh: bool = False
    every_step: bool = False
    verbose: bool = False
    json: bool = False
    parallel: int = engines.PARALLEL
    overcommit: bool = False
    at_once: bool = False
    golden: bool = True
    fresh: bool = False
    replace: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


def run(workspace: Workspace, options: UpOptions) -> int:
    parts = Parts()
    console = text.console(error=options.json)
    workspace.refuse_unbuildable()
    targets = options.only or _targets(workspace, options.until)
    engine, hypervisor = engines.choose(options.engine), hypervisors.choose(workspace)
    console.print(f"{engine}\n{hypervisor}")
    sound.require(workspace, embedded=hypervisor.embedded)
    with parts.timed("host"):
        for line in _room(workspace, hypervisor, options):
            console.print(Text.assemble(("note: ", "yellow"), line))
        if options.doctor:
            doctor.require(workspace, hypervisor, options.yes, console)
        domain_type = _domain_type(workspace)
    emulated = domain_type == "qemu"
    with admission.admitted(workspace, hypervisor.name, engine.name, emulated, overcommit=options.overcommit):
        return _bring_up(workspace, options, engine, hypervisor, domain_type, targets, parts, console)


def _room(workspace: Workspace, hypervisor: hypervisors.Choice, options: UpOptions) -> list[str]:
    """What is let pass of what stands against it. Raises RefusedError for the rest, before anything is made."""
    emulated = admission.emulates(workspace)
    return admission.refuse(workspace, hypervisor.name, emulated, overcommit=options.overcommit)


def _bring_up(
    workspace: Workspace,
    options: UpOptions,
    engine: engines.Engine,
    hypervisor: hypervisors.Choice,
    domain_type: str,
    targets: tuple[str, ...],
    parts: Parts,
    console: Console,
) -> int:
    with parts.timed("images"):
        image.ensure(workspace, console)
    with parts.timed("hypervisor"):
        _start(workspace, hypervisor)
    golden.settle(workspace, hypervisor, console)
    for line in networks.mend(workspace, hypervisor):
        console.print(Text(f"{line}: it is again as it was made", style="yellow"))
    source: Place | None = None
    if not (workspace.checkpoint.exists() or options.fresh or options.until):
        with parts.timed("golden cloud"):
            source = golden.bring_back(workspace, hypervisor, domain_type, console)
    with parts.timed("build"):
        runner = engines.runner(workspace, engine, hypervisor, domain_type, options.parallel)
        refresh = _refresh_needed(workspace, hypervisor, options)
        built = _build(workspace, runner, hypervisor.uri, options, targets, refresh, console)
    ok = built.summary.ok
    if ok and not options.until:
        workspace.note(built=now())
    tell(workspace, built, console)
    proof: dict[str, float] = {}
    checks: list[dict[str, Any]] = []
    if ok and not options.until:
        if options.fence_proof and (missing := _unproven(workspace)):
            with parts.timed("fencing"):
                proof = _prove(workspace, missing, console)
            ok = len(proof) == len(missing)
        if ok and options.verify:
            with parts.timed("verification"):
                ok, checks = _verify(workspace, built, bool(proof), console)
    if built.times is not None:
        if not options.only:
            note_times(workspace, built.times, domain_type, parts, ok=ok)
        console.print()
        console.print(times(built.times, every_step=options.every_step))
        console.print(f"parts: {parts}")
    console.print()
    console.print(
        Text.assemble(
            (f"{workspace.stack} is {'up' if ok else 'not well'}", "bold green" if ok else "bold red"),
            f" after {text.duration(parts.total)}",
        )
    )
    found = document(workspace, runner, built, proof, checks, ok, parts) if options.json else {}
    if ok and built.times is not None and not options.json:
        what_next(workspace, runner, console)
    kept: Place | None = None
    if ok and checks and options.golden:
        kept = golden.keep(workspace, hypervisor, domain_type, console, anew=options.fresh)
    if options.json:
        told = {"from": source and source.name, "kept": kept and kept.name}
        print(json.dumps({**found, "golden": told}, indent=1))
    return DONE if ok else FAILED


def _targets(workspace: Workspace, until: tuple[str, ...]) -> tuple[str, ...]:
    """What the engine is limited to: the steps of `until`, all before them, and every VM. Raises RefusedError."""
    if not until:
        return ()
    plan = workspace.plan
    for name in until:
        if name not in plan.by_name:
            meant = nearest(name, plan.by_name)
            hint = f"did you mean {meant}? " if meant else ""
            raise RefusedError(f"--until: {shown(name)}: no such step; {hint}see ./halab graph --kind steps")
    needed = {*until, *(before for name in until for before in plan.ancestors(name))}
    stages = {plan.by_name[name].stage for name in needed}
    return (*sorted(needed | stages), "bootstrap", "fencing", workspace.stack, "urn:pulumi:**libvirt:**")


def _start(workspace: Workspace, hypervisor: hypervisors.Choice) -> None:
    """The hypervisor and a fencing daemon it had run, and this process is where the VMs can be reached.

    Before any thread is started.
    """
    if hypervisor.embedded:
        forced = workspace.topology.stack.hypervisor.domain_type
        embedded = Hypervisor(workspace.stack, workspace.state, kvm=None if forced == "auto" else forced == "kvm")
        embedded.start()
        embedded.enter()
        return
    fence = Fence(workspace.paths, hypervisor.uri)
    there = Path("/sys/class/net", fence.bridge() or "").exists()
    if fence.config_file.exists() and there and not fence.held and not fence.listening():
        fence.start(())


def _domain_type(workspace: Workspace) -> str:
    asked = workspace.topology.stack.hypervisor.domain_type
    return virt_type(workspace.state).domain_type if asked == "auto" else asked


def _refresh_needed(workspace: Workspace, hypervisor: hypervisors.Choice, options: UpOptions) -> bool:
    """Whether what is there must be looked at, because what the state says of it may not be so."""
    return options.refresh or sound.differs(workspace, hypervisor.uri, cloud.domains(workspace, hypervisor.uri))


def _build(
    workspace: Workspace,
    runner: engines.Runner,
    uri: str,
    options: UpOptions,
    targets: tuple[str, ...],
    refresh: bool,
    console: Console,
) -> Built:
    """Refresh where asked, preview, and run what the preview found to do."""
    history = History.read(workspace.history)
    expected: frozenset[str] = frozenset()
    if refresh:
        console.print("looking at what is really there")
        refreshed = runner.refresh(lambda event: None)
        if not refreshed.ok:
            return Built(refreshed, None, None)
    planned: Summary | None = None
    touched = impact.Change()
    if runner.name == "embedded":
        planned = runner.preview(lambda event: None, targets, options.replace)
        # What an earlier run began and nobody wants any more shows in no preview: up takes it back.
        if planned.ok and not planned.changed and not sound.unfinished(workspace):
            return Built(planned, None, None)
        expected = work(planned.steps)
    elif workspace.checkpoint.exists():
        planned = preview.changes(workspace, console, targets, options.replace)
    if planned is not None and planned.ok:
        touched = impact.change(planned.steps)
    if not options.replace:
        for line in impact.words(workspace.topology, touched):
            console.print(line)
    if not options.at_once:
        if not options.replace:
            refuse_too_many(workspace, touched)
        leave.ahead(workspace, touched, console)
    log = workspace.new_log("up")
    domains = [node.domain for node in workspace.topology.nodes]
    vms, own = cpu.of_domains(uri, domains), cpu.own()
    progress = Progress(time.time(), expected, history)
    before = workspace.record() or Record()
    workspace.note(built="", verified="")
    if runner.name == "cli":
        with interruptible(runner, console):
            summary = runner.up(progress.feed, targets, options.replace)
    else:
        display = RunDisplay(f"up {workspace.stack}", progress, console, log, verbose=options.verbose)
        with display, interruptible(runner, console):
            summary = runner.up(display.feed, targets, options.replace)
    used, own = cpu.of_domains(uri, domains), cpu.own() - own
    found = RunTimes(
        tuple(progress.finished),
        len(os.sched_getaffinity(0)),
        dependencies(runner.resources()),
        CpuTime(spent(vms, used), own) if vms is not None and used is not None else None,
    )
    if found.steps:
        if not options.only:
            write_json(workspace.times, found.as_json())
        learned = history.learn(found)
        write_json(workspace.history, {"seconds": learned.seconds, "together": learned.together})
    elif summary.ok:
        workspace.note(built=before.built, verified=before.verified)
    return Built(summary, found if found.steps else None, log)


def refuse_too_many(workspace: Workspace, touched: impact.Change) -> None:
    """Raises RefusedError where more nodes would go at once than a quorum or a service survives."""
    problems = impact.too_many(workspace.topology, touched)
    if not problems:
        return
    ways = []
    if each := impact.one_by_one(workspace.topology, touched):
        ways.append(f"one after the other, while the cloud works on: {each}")
    if touched.removed:
        ways.append("take fewer nodes out of the stack file at a time")
    ways.append(f"all the same, with the loss of what they hold: ./halab up --at-once --stack {workspace.stack}")
    raise RefusedError("\n".join(["up: nothing was changed:", *problems, *ways]))


def _unproven(workspace: Workspace) -> tuple[str, ...]:
    """Nodes that can be fenced and whose fencing was never fired."""
    from halab.fence_proof import targets

    record = workspace.record()
    known = record.fenced if record else {}
    return tuple(node for node in targets(workspace.topology) if node not in known)


def _prove(workspace: Workspace, nodes: tuple[str, ...], console: Console) -> dict[str, float]:
    """Fire the fencing of each node once; node to seconds for those that came back."""
    from halab.actions import fencing

    return fencing.prove(workspace, nodes, console)


def _verify(workspace: Workspace, built: Built, fenced: bool, console: Console) -> tuple[bool, list[dict[str, Any]]]:
    """Ask the cloud, unless nothing has changed since it last answered well."""
    from halab.actions import verify

    record = workspace.record()
    if built.times is None and not fenced and record and record.verified:
        console.print(f"verified {record.verified} and unchanged since; ./halab verify asks again")
        return True, []
    report = verify.ask(workspace, console)
    return report.ok, [{"check": f.check, "ok": f.ok, "evidence": f.evidence} for f in report.findings]
