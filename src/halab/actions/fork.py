"""The same cloud a second time: a golden cloud, or a snapshot, brought back as another stack beside the first."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from rich.text import Text

from components.variant import CONFIG_KEY, stack_file
from components.variant.keys import STACK_NAME, STACK_NAME_RULE
from halab import hypervisors
from halab.actions import golden
from halab.display import text
from halab.display.steps import Steps
from halab.errors import DONE, RefusedError
from halab.snapshot import store
from halab.snapshot.store import Place
from halab.stacks import admission
from halab.workspace import Workspace


def run(project: Path, origin: str, name: str, snapshot: str | None, *, overcommit: bool, as_json: bool) -> int:
    from halab.snapshot.restore import checked, restore
    from halab.snapshot.site import Site

    began = time.monotonic()
    console = text.console(error=as_json)
    first = Workspace.load(project, origin)
    place = _source(first, name, snapshot)
    path = stack_file(project, name)
    if path.exists():
        raise RefusedError(f"{path.relative_to(project)} exists: take another name, or ./halab up --stack {name}")
    path.write_text(document(stack_file(project, origin).read_text(), first))
    try:
        workspace = Workspace.load(project, name)
        if workspace.record() is not None or workspace.checkpoint.exists():
            raise RefusedError(f"{name}: a stack of that name is up already; ./halab down --stack {name}")
        site = Site(workspace, hypervisors.choose(workspace))
        steps = Steps(console)
        known = store.read(place)
        emulated, engine = known.host.domain_type == "qemu", str(known.record["engine"])
        # long before it would be admitted: a refusal is not to be waited for
        admission.refuse(workspace, site.name, emulated, overcommit=overcommit)
        found = checked(site, place, steps)
        with ExitStack() as stack:
            stack.enter_context(admission.admitted(workspace, site.name, engine, emulated, overcommit=overcommit))
            admitted = stack.pop_all()
    except BaseException:
        path.unlink()
        raise
    with admitted:
        restore(site, place, found, steps, steps.say)
    seconds = time.monotonic() - began
    if as_json:
        told: dict[str, Any] = {"stack": name, "of": origin, "snapshot": place.name, "file": str(path)}
        timed = {step: round(one, 2) for step, one in steps.seconds.items()}
        print(json.dumps({**told, "ok": True, "seconds": round(seconds, 2), "parts": timed}, indent=1))
        return DONE
    console.print(
        Text.assemble(
            (f"{name} is up", "bold green"),
            f" after {text.duration(seconds)}: {text.counted(len(found.guests), 'VM')} as {place.name} left them",
        )
    )
    console.print(f"  its file: {path.relative_to(project)}; next: ./halab status · ./halab down   (--stack {name})")
    return DONE


def _source(first: Workspace, name: str, snapshot: str | None) -> Place:
    """What is forked. Raises RefusedError for what cannot be."""
    if STACK_NAME.fullmatch(name) is None:
        raise RefusedError(f"stack: {name!r}: {STACK_NAME_RULE}")
    other = f"./halab new {name} --variant {first.topology.stack.variant} makes one with addresses of its own"
    choice = hypervisors.choose(first)
    if not choice.embedded:
        raise RefusedError(f"{first.stack}: on {choice.uri} the addresses of a fork would meet the original's; {other}")
    wanted = snapshot or store.GOLDEN
    return store.find(
        first.state, first.stack, wanted, golden.known_key(first, "embedded") if wanted == store.GOLDEN else ""
    )


def document(original: str, first: Workspace) -> str:
    """The fork's stack file: the original's settings, whose cloud it is, and where alone two of them can be."""
    tree: dict[str, Any] = yaml.safe_load(original)
    stack = tree["config"][CONFIG_KEY]
    stack["cloud"] = first.topology.stack.cloud
    stack["hypervisor"] = {**(stack.get("hypervisor") or {}), "uri": "embedded"}
    head = f"# A fork of {first.stack} (./halab fork): guests and libvirt objects have its names and addresses.\n"
    return head + str(yaml.safe_dump({"config": {CONFIG_KEY: stack}}, sort_keys=False))
