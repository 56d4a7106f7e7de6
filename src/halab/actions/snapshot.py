"""Save and restore clouds by name; what is kept on this host, and what may go."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from halab import hypervisors
from halab.display import text
from halab.display.steps import Steps
from halab.errors import DONE, FAILED, RefusedError
from halab.snapshot import disks, intent, store
from halab.snapshot.manifest import DamagedError, Manifest
from halab.snapshot.store import Place
from halab.stacks import admission, ages, claims
from halab.workspace import Workspace


def save(workspace: Workspace, name: str, *, as_it_is: bool, as_json: bool) -> int:
    from halab.snapshot.save import save as save_cloud
    from halab.snapshot.settle import settle
    from halab.snapshot.site import Site

    place = store.named(workspace.state, workspace.stack, name)
    if workspace.record() is None:
        raise RefusedError(f"{workspace.stack}: not up; ./halab up --stack {workspace.stack}")
    began = time.monotonic()
    steps = Steps(text.console(error=as_json))
    site = Site(workspace, hypervisors.choose(workspace))
    with admission.alone(workspace):
        site.start()
        settle(site, steps, steps.say)
        made = save_cloud(site, place, steps, steps.say, as_it_is=as_it_is)
    _told(workspace, place, made, "saved", began, steps, as_json)
    return DONE


def restore(workspace: Workspace, name: str, *, overcommit: bool, as_json: bool) -> int:
    from halab.snapshot.restore import checked
    from halab.snapshot.restore import restore as restore_cloud
    from halab.snapshot.site import Site

    began = time.monotonic()
    console = text.console(error=as_json)
    steps = Steps(console)
    site = Site(workspace, hypervisors.choose(workspace))
    place = store.find(workspace.state, workspace.stack, name, _key(workspace, site.kind, name))
    known = store.read(place)
    emulated, engine = known.host.domain_type == "qemu", str(known.record["engine"])
    # long before it would be admitted: a refusal is not to be waited for
    admission.refuse(workspace, site.name, emulated, overcommit=overcommit)
    found = checked(site, place, steps)
    with admission.admitted(workspace, site.name, engine, emulated, overcommit=overcommit):
        restore_cloud(site, place, found, steps, steps.say)
    _told(workspace, place, found, "back", began, steps, as_json)
    return DONE


def _key(workspace: Workspace, kind: str, name: str) -> str:
    from halab.actions import golden

    return golden.known_key(workspace, kind) if name == store.GOLDEN else ""


def _told(
    workspace: Workspace, place: Place, made: Manifest, what: str, began: float, steps: Steps, as_json: bool
) -> None:
    seconds = time.monotonic() - began
    if as_json:
        found = {"stack": workspace.stack, "snapshot": place.name, "folder": str(place.folder), "bytes": made.size}
        timed = {name: round(one, 2) for name, one in steps.seconds.items()}
        print(json.dumps({**found, "ok": True, "seconds": round(seconds, 2), "parts": timed}, indent=1))
        return
    taken = text.size(sum(place.inodes().values()))
    text.console().print(
        Text.assemble(
            (f"{workspace.stack} is {what}", "bold green"),
            f" {'as' if what == 'saved' else 'from'} {place.name} after {text.duration(seconds)} "
            f"({text.counted(len(made.guests), 'VM')}, {taken} with its images)",
        )
    )


# What there is.


def listing(state: Path, *, as_json: bool) -> int:
    rows = [_row(place) for place in store.every(state)]
    if as_json:
        print(json.dumps(rows, indent=1))
        return DONE
    console = text.console()
    if not rows:
        console.print("no snapshots; a verified ./halab up leaves a golden cloud, ./halab snapshot save NAME makes one")
        return DONE
    table = Table(box=None, pad_edge=False)
    for column in ("name", "cloud", "of stack", "saved", "last used", "VMs"):
        table.add_column(column)
    for column in ("size", "alone"):
        table.add_column(column, justify="right")
    for row in rows:
        if row["damaged"]:
            table.add_row(str(row["name"]), "", str(row["stack"]), Text(str(row["damaged"]), style="bold red"))
            continue
        table.add_row(
            *(str(row[key]) for key in ("name", "cloud", "stack", "created", "used", "vms")),
            text.size(int(row["bytes"])),
            text.size(int(row["frees"])),
        )
    console.print(table)
    taken = store.use(place.inodes() for place in store.every(state))
    console.print(f"{text.size(taken)} of disk, of at most {text.size(store.limit())} ({store.LIMIT})")
    return DONE


def _row(place: Place) -> dict[str, str | int]:
    """`bytes`: of disk, with what it shares; `frees`: what comes free when it goes."""
    used = datetime.fromtimestamp(place.used, UTC)
    row: dict[str, str | int] = {"name": place.name, "stack": place.stack, "used": f"{used:%Y-%m-%dT%H:%M:%SZ}"}
    row |= {"bytes": sum(place.inodes().values()), "frees": store.alone(place), "damaged": ""}
    try:
        found = store.read(place)
    except DamagedError as error:
        return {**row, "cloud": "", "created": "", "vms": 0, "damaged": str(error)}
    return {
        **row,
        "cloud": found.cloud,
        "stack": found.stack,
        "created": found.created,
        "vms": len(found.guests),
    }


def show(workspace: Workspace, name: str, *, as_json: bool) -> int:
    """Everything of one snapshot, each file against its checksum."""
    place = store.find(workspace.state, workspace.stack, name)
    found = store.read(place)
    problem = ""
    try:
        store.check(place, found)
    except DamagedError as error:
        problem = str(error)
    if as_json:
        files = {name: {"size": one.size, "sha256": one.sha256} for name, one in found.files.items()}
        document = {**_row(place), "folder": str(place.folder), "root": found.root, "well": found.well, "files": files}
        host = {key: getattr(found.host, key) for key in found.host.__dataclass_fields__}
        print(json.dumps({**document, "host": host, "checksums": problem or "ok"}, indent=1))
        return FAILED if problem else DONE
    console = text.console()
    verified = found.record.get("verified") or "never"
    console.print(
        f"{place.name}: cloud {found.cloud} of stack {found.stack}, saved {found.created}, last verified {verified}"
        f"{'' if found.well else ', saved as it was, its clusters not asked'}"
    )
    console.print(f"  {place.folder}")
    where = f"{found.host.domain_type}, QEMU {found.host.qemu}, {found.host.hypervisor} hypervisor"
    console.print(f"  to be resumed under {where}{found.host.cpu and ', ' + found.host.cpu}")
    for node, guest in found.guests.items():
        layers = ", ".join(found.layers[disk] for disk in guest.disks)
        console.print(f"  {node:<14} {guest.ip:<15} RAM {text.size(found.files[f'ram/{node}.save'].size):>7}  {layers}")
    for path, one in found.files.items():
        console.print(f"  {one.sha256[:16]}  {text.size(one.size):>8}  {path}")
    console.print(Text(problem, style="bold red") if problem else Text("checksums: all files ok", style="green"))
    return FAILED if problem else DONE


# What may go.


def remove(workspace: Workspace, name: str) -> int:
    place = store.find(workspace.state, workspace.stack, name)
    freed = store.remove(place)
    text.console().print(f"{place.name} is removed: {text.size(freed)} of disk came free")
    return DONE


def prune(state: Path, older_than: str, *, yes: bool, named: bool) -> int:
    """Goldens that were not used for that long, and what dead writers left; with `named`, snapshots too."""
    seconds = ages.older_than(older_than)
    places = [place for place in store.every(state) if place.golden or named]
    going = store.unused([(place, place.used) for place in places], seconds)
    partials = [path for folder in store.folders(state) for path in store.dead_partials(folder)]
    console = text.console()
    for place in going:
        used = datetime.fromtimestamp(place.used, UTC)
        what = f"{place.name}{f' of {place.stack}' if place.stack else ''}"
        console.print(f"{what}: last used {used:%Y-%m-%d %H:%M}, {text.size(store.alone(place))} of its own")
    for path in partials:
        console.print(f"{path}: left by a save that died")
    if not going and not partials:
        console.print(f"nothing to prune: all of {text.counted(len(places), 'golden cloud')} used within {older_than}")
    elif yes:
        freed = sum(map(store.remove, going))
        for folder in store.folders(state):
            store.clear_partials(folder)
        console.print(f"removed; {text.size(freed)} of disk came free")
    else:
        console.print("nothing is removed yet: add --yes")
    return DONE


def kept(workspace: Workspace) -> list[Place]:
    """What of the stack's cloud outlives `down`: its snapshots, and golden clouds from which `up` brings it back."""
    cloud = workspace.topology.stack.cloud
    found = []
    for place in store.every(workspace.state):
        if place.golden:
            try:
                mine = store.read(place).cloud == cloud
            except DamagedError:
                mine = False
        else:
            mine = place.stack == workspace.stack
        if mine:
            found.append(place)
    return found


def tell_kept(workspace: Workspace, console: Console) -> None:
    for place in kept(workspace):
        how = f"./halab snapshot rm {place.name} --stack {workspace.stack}"
        console.print(
            f"kept: {place.name}, {text.size(sum(place.inodes().values()))}; to remove it: {how}", style="dim"
        )


def let_go(workspace: Workspace, at: str, console: Console) -> None:
    """Before a stack goes: nothing of its save or restore is under way, and its pool holds what the engine made only.

    Raises LockedError while another command changes the stack.
    """
    from halab.snapshot.site import locked

    pool = admission.pool_folder(workspace.topology, at, workspace.paths.pool)
    layers = pool.is_dir() and claims.on_this_host(at)
    if not layers and not intent.file(workspace).exists():
        return
    with locked(workspace, console.print):
        intent.discard(workspace)
        if layers:
            disks.sweep(pool, ())
