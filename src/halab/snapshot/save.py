"""Save a cloud that runs: all VMs suspended together, RAM written, disks frozen, and on they go."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from lxml import etree

from halab.errors import HalabError, RefusedError
from halab.snapshot import disks, guests, host, intent, manifest, ram, state, store
from halab.snapshot.intent import Intent, Phase
from halab.snapshot.live import Live, pool_folder
from halab.snapshot.live import disks as disks_of
from halab.snapshot.manifest import Guest, Manifest
from halab.snapshot.site import Say, Site, Step, locked
from halab.snapshot.store import Place
from halab.stacks.host import free
from halab.workspace import now as taken

_MIB = 1024**2


def save(site: Site, place: Place, step: Step, say: Say, *, as_it_is: bool = False) -> Manifest:
    """The cloud goes on where it was; on any failure too, and then nothing is kept.

    `as_it_is`: its clusters are not asked. Raises RefusedError for one that cannot be saved, LockedError, HalabError.
    """
    workspace = site.workspace
    if place.exists():
        raise RefusedError(f"snapshot {place.name} of {workspace.stack} exists: ./halab snapshot rm {place.name} first")
    with locked(site.workspace, say), site.live() as live:
        draft = _draft(site, place, live, as_it_is)
        if not as_it_is:
            _refuse_unwell(site, step)
        _refuse_full(site, live, place, draft)
        with store.writing(place) as folder:
            _freeze(site, live, draft, folder, step, say)
            with step("files linked, checksums taken"):
                _gather(site, live, draft, folder)
                made = replace(
                    draft, files=manifest.measure(folder, manifest.contents(folder), store.sums(workspace.state))
                )
                manifest.write(folder, made)
        place.touch()
    return made


def _draft(site: Site, place: Place, live: Live, as_it_is: bool) -> Manifest:
    """Everything about the snapshot but its files. Raises RefusedError for a cloud that cannot be saved."""
    workspace = site.workspace
    record = workspace.record()
    if record is None or not workspace.checkpoint.exists():
        raise RefusedError(f"{workspace.stack}: not up; ./halab up --stack {workspace.stack}")
    if state.unfinished(workspace):
        raise RefusedError(f"{workspace.stack}: an up was cut short; ./halab up --stack {workspace.stack} goes on")
    states = live.states()
    off = [f"{node} is {word}" for node, word in states.items() if word != "running"]
    if off or not states:
        what = ", ".join(off) or "there are no VMs"
        raise RefusedError(f"{workspace.stack}: {what}; only a cloud whose VMs all run can be saved")
    pool = live.pool()
    folder = pool_folder(pool)
    definitions = {node: live.definition(node) for node in states}
    addresses = {node.name: str(node.ip) for node in workspace.topology.nodes}
    id_ = f"{datetime.now(UTC):%y%m%d%H%M%S}{secrets.token_hex(2)}"
    found = {
        node: Guest(name_of(xml), addresses.get(node, ""), xml, disks_of(xml, folder))
        for node, xml in definitions.items()
    }
    domain_type = str(etree.fromstring(next(iter(definitions.values()))).get("type"))
    return Manifest(
        stack=workspace.stack,
        cloud=workspace.topology.stack.cloud,
        name=place.name,
        golden=place.folder.name if place.golden else "",
        created=taken(),
        root=str(workspace.paths.root),
        host=host.here(site.kind, domain_type),
        well=not as_it_is,
        memory=live.memory(),
        guests=found,
        layers={disk: disks.layer_of(disk, id_) for guest in found.values() for disk in guest.disks},
        networks=live.networks(),
        pool=pool,
        record=asdict(record),
    )


def name_of(xml: str) -> str:
    return etree.fromstring(xml).findtext("name") or ""


def _refuse_unwell(site: Site, step: Step) -> None:
    async def ask() -> list[str]:
        async with site.remote() as remote:
            return await guests.problems(site.workspace.topology, remote)

    with step("clusters asked"):
        wrong = asyncio.run(ask())
    if wrong:
        raise RefusedError(
            f"{site.workspace.stack}: not well: {'; '.join(wrong)}; ./halab status shows it, --as-it-is saves it "
            "nevertheless"
        )


def _refuse_full(site: Site, live: Live, place: Place, draft: Manifest) -> None:
    """RAM images are at most as large as RAM; disks cost nothing where they can be linked."""
    pool = live.here(pool_folder(draft.pool))
    needed = draft.memory * _MIB
    if not disks.shares(pool, place.folder):
        needed += sum(path.stat().st_blocks * 512 for path in pool.iterdir() if path.is_file())
    if (short := needed - free(place.folder)) > 0:
        raise RefusedError(
            f"{place.folder.parent}: {-(-short // _MIB)} MiB short of the {needed // _MIB} MiB that a snapshot of "
            f"{site.workspace.stack} may take; ./halab snapshot prune makes room"
        )


def _freeze(site: Site, live: Live, draft: Manifest, folder: Path, step: Step, say: Say) -> None:
    """RAM on disk, disks under new overlays, VMs running again; the same VMs running when it fails."""
    workspace, nodes = site.workspace, list(draft.guests)
    now = Intent("save", str(folder), Phase.SAVING, draft.layers)

    def reached(phase: Phase) -> None:
        intent.note(workspace, replace(now, phase=phase))

    (folder / "ram").mkdir(mode=0o700)
    store.need(folder, intent.file(workspace))
    reached(Phase.SAVING)
    try:
        with step("fencing held off, all VMs suspended"):
            site.fence.hold()
            live.suspend(nodes)
        with step(f"RAM of {len(nodes)} VMs written"):
            live.save_ram(folder / "ram", nodes)
        with step("disks frozen"):
            seen = pool_folder(draft.pool)
            reached(Phase.FREEZING)
            for disk, layer in draft.layers.items():
                disks.freeze(live.here(seen), seen, disk, layer)
            reached(Phase.RETURNING)
        with step("VMs back and resumed"):
            live.load_ram(folder / "ram", nodes)
            reached(Phase.RESUMING)
            live.resume(nodes)
        awake(site, nodes, step, say)
    except BaseException:
        say("it did not work: the VMs are brought back")
        # the libvirtd that was asked may be what has died
        site.start()
        with site.live() as anew:
            bring_back(site, anew, step, say)
        raise
    intent.forget(workspace)


def awake(site: Site, nodes: Iterable[str], step: Step, say: Say) -> None:
    """What follows when VMs have been resumed: their clocks, then fencing."""

    async def clocks() -> dict[str, str]:
        async with site.remote() as remote:
            return await guests.set_clocks(remote, site.known(nodes))

    with step("clocks set"):
        for problem in asyncio.run(clocks()).values():
            say(f"its clock is late: {problem}")
    with step("fencing on"):
        site.fence.release(site.prefix)


def bring_back(site: Site, live: Live, step: Step, say: Say) -> None:
    """After a save that was cut short anywhere: the same VMs run, from their RAM wherever that is whole.

    Goes by the intent on disk, may itself be cut short and repeated. What the save had written goes.
    """
    workspace = site.workspace
    found = intent.read(workspace)
    if found is None:
        return
    site.fence.hold()
    live.abandon_jobs()
    folder, states = Path(found.folder) / "ram", live.states()
    if found.phase in (Phase.FREEZING, Phase.RETURNING):
        # nothing has run since: whatever a dead process or libvirtd half brought back goes, and all begin anew, with
        # new overlays, as one may know more than the RAM that comes back
        live.clear(states)
        seen = pool_folder(live.pool())
        for disk in (disk for node in states for disk in disks_of(live.definition(node), seen)):
            disks.freeze(live.here(seen), seen, disk, found.layers[disk])
            disks.overlay(live.here(seen), seen, disk, found.layers[disk])
        states = live.states()
    if found.phase is not Phase.RESUMING:
        with step("VMs back from their RAM"):
            off = [node for node, word in states.items() if word == "off"]
            live.load_ram(folder, [node for node in off if ram.is_whole(ram.image(folder, node))])
        intent.note(workspace, replace(found, phase=Phase.RESUMING))
        states = live.states()
    asleep, off = ([node for node, word in states.items() if word == which] for which in ("paused", "off"))
    if off:
        say(f"of {', '.join(off)} no RAM is left: booted from disk")
    with step("VMs resumed"):
        live.resume(asleep)
        live.start(off)
    awake(site, asleep, step, say)
    intent.forget(workspace)
    shutil.rmtree(found.folder, ignore_errors=True)


def _gather(site: Site, live: Live, draft: Manifest, folder: Path) -> None:
    """Everything but RAM into the snapshot's folder."""
    pool = live.here(pool_folder(draft.pool))
    (folder / "pool").mkdir(mode=0o700)
    try:
        for name in sorted(disks.needed(pool, draft.layers) - draft.layers.keys()):
            disks.share(pool / name, folder / "pool" / name)
        state.keep(site.workspace, folder)
    except OSError as error:
        raise HalabError(f"{folder}: {error.strerror}") from None
    disks.sweep(pool, draft.layers)
