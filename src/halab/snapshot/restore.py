"""Bring a saved cloud back: what runs of the stack goes, and the VMs are where they were when it was saved.

The same makes a fork: a snapshot of one stack brought back as another, whose state is rewritten to its name.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from halab.actions import fence_daemon
from halab.embedded.hypervisor import FenceConfig
from halab.errors import RefusedError
from halab.snapshot import disks, guests, host, intent, state, store
from halab.snapshot.intent import Intent, Phase
from halab.snapshot.live import Live, pool_folder
from halab.snapshot.manifest import Manifest
from halab.snapshot.site import Say, Site, Step, locked
from halab.snapshot.store import Place
from halab.workspace import Workspace


def restore(site: Site, place: Place, found: Manifest, step: Step, say: Say) -> None:
    """`found`: what `checked` found; nothing is touched before that.

    Raises LockedError, HalabError. What is cut short from now on is done again by the next command.
    """
    with locked(site.workspace, say):
        intent.discard(site.workspace)
        intent.note(site.workspace, Intent("restore", str(place.folder), Phase.RETURNING, found.layers))
        bring(site, place, found, step, say)


def checked(site: Site, place: Place, step: Step) -> Manifest:
    """The manifest of a snapshot that is whole and fits, and whose state the passphrase opens.

    Raises DamagedError, RefusedError, PassphraseError.
    """
    workspace = site.workspace
    found = store.read(place)
    if found.cloud != workspace.topology.stack.cloud:
        raise RefusedError(
            f"snapshot {place.name} is of the cloud {found.cloud}, whose names its guests have, not of "
            f"{workspace.topology.stack.cloud}; ./halab fork {found.cloud} NAME makes a second one"
        )
    if reason := host.differs(found.host, host.here(site.kind, found.host.domain_type)):
        raise RefusedError(f"snapshot {place.name}: {reason}; ./halab up --fresh builds the cloud here")
    with step("checksums of all files compared"), ThreadPoolExecutor(1) as beside:
        opened = beside.submit(state.load, workspace, place.folder)
        store.check(place, found)
        opened.result()
    return found


def bring(site: Site, place: Place, found: Manifest, step: Step, say: Say) -> None:
    """From whatever is there to the cloud of the snapshot; may be cut short anywhere and done again from its start."""
    workspace, nodes = site.workspace, list(found.guests)
    site.fence.hold()
    site.start()
    with site.live() as live:
        with step("disks and definitions put in place"):
            live.clear(nodes)
            _objects(live, place.folder, found)
            config = _state(site, place.folder, found)
        with step(f"RAM of {len(nodes)} VMs back"):
            live.load_ram(place.folder / "ram", nodes)
        with step("all VMs resumed"):
            live.resume(nodes)
    asyncio.run(_awake(site, found, step, say))
    with step("fencing on"):
        if config is not None:
            site.fence.configure(config)
        site.fence.release(site.prefix)
    intent.forget(workspace)
    place.touch()


def _objects(live: Live, folder: Path, found: Manifest) -> None:
    """Disks, networks, pool and domains as they were defined."""
    seen = pool_folder(found.pool)
    pool = live.here(seen)
    fresh = not pool.exists()
    with ThreadPoolExecutor() as at_once:
        begun = [
            at_once.submit(disks.fill, pool, seen, folder / "pool", found.layers),
            at_once.submit(live.define_networks, found.networks),
            at_once.submit(live.define_domains, {node: guest.xml for node, guest in found.guests.items()}),
        ]
    for one in begun:
        one.result()
    if fresh:
        # qemu walks through it as an unprivileged user
        pool.chmod(0o711)
    live.define_pool(found.pool)


def _state(site: Site, folder: Path, found: Manifest) -> FenceConfig | None:
    """The engine's state, keys and record of the stack; how fencing is configured by that."""
    workspace = site.workspace
    loaded = state.put_back(workspace, folder, state.Names(found.stack, found.root))
    saved = {key: value for key, value in found.record.items() if key in ("engine", "fenced", "verified", "built")}
    workspace.note(hypervisor=site.name, **saved)
    given = state.fencing(loaded)
    return fence_daemon.parse(given)[1] if given else None


async def _awake(site: Site, found: Manifest, step: Step, say: Say) -> None:
    """The guests know what time it is, and their clusters are together again."""
    async with site.remote() as remote:
        with step("clocks set, clusters quorate" if found.well else "clocks set"):
            clocks = guests.set_clocks(remote, site.known(found.guests))
            if found.well:
                late, _ = await asyncio.gather(clocks, guests.wait_until_well(site.workspace.topology, remote))
            else:
                late = await clocks
        for problem in late.values():
            say(f"its clock is late: {problem}")


def again(site: Site, cut_short: Intent, step: Step, say: Say) -> None:
    """Do a restore again that was cut short. Raises DamagedError when its snapshot is not whole any more."""
    place = place_of(site.workspace, Path(cut_short.folder))
    bring(site, place, checked(site, place, step), step, say)


def place_of(workspace: Workspace, folder: Path) -> Place:
    is_golden = folder.parent == workspace.state / store.GOLDEN
    return Place(folder, "" if is_golden else folder.parent.name, is_golden)
