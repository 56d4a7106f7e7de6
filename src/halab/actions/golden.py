"""Golden clouds: a cloud that was verified is kept, and an up that would build the same again brings it back."""

from __future__ import annotations

from rich.console import Console

from halab import program
from halab.display import text
from halab.display.steps import Steps
from halab.embedded.engine.errors import EngineError
from halab.embedded.hypervisor import HypervisorError
from halab.errors import HalabError, RefusedError
from halab.host.probe import virt_type
from halab.hypervisors import Choice
from halab.snapshot import store
from halab.snapshot.manifest import DamagedError
from halab.snapshot.store import Place
from halab.workspace import Workspace


def key(workspace: Workspace, kind: str, domain_type: str = "") -> str:
    """What the golden cloud of the stack is found by today. `kind`: embedded or system. Raises RefusedError."""
    from halab.snapshot import host
    from halab.snapshot.key import key as compute

    asked = domain_type or workspace.topology.stack.hypervisor.domain_type
    known = virt_type(workspace.state).domain_type if asked == "auto" else asked
    return compute(workspace.topology.stack, program.images(workspace.topology, False), host.here(kind, known))


def known_key(workspace: Workspace, kind: str) -> str:
    """The same, "" where there can be none since the images are not even built."""
    try:
        return key(workspace, kind)
    except RefusedError:
        return ""


def settle(workspace: Workspace, choice: Choice, console: Console) -> None:
    """First of all, what a save or a restore that was cut short left. Raises LockedError while it is alive."""
    from halab.snapshot import intent

    if intent.file(workspace).exists():
        from halab.snapshot.settle import settle as settle_cloud
        from halab.snapshot.site import Site

        steps = Steps(console)
        settle_cloud(Site(workspace, choice), steps, steps.say)


def bring_back(workspace: Workspace, choice: Choice, domain_type: str, console: Console) -> Place | None:
    """The golden cloud that an up would build, if there is one that is whole; None: it has to be built."""
    from halab.snapshot.restore import checked, restore
    from halab.snapshot.site import Site

    try:
        site = Site(workspace, choice)
    except RefusedError:
        return None
    place = store.golden(workspace.state, key(workspace, site.kind, domain_type))
    if not place.exists():
        return None
    console.print(f"bringing back {place.name}, which is what would be built (--fresh builds it anew)")
    steps = Steps(console)
    try:
        found = checked(site, place, steps)
    except DamagedError as error:
        console.print(f"{error}; building anew", style="yellow")
        return None
    restore(site, place, found, steps, steps.say)
    return place


def keep(workspace: Workspace, choice: Choice, domain_type: str, console: Console, *, anew: bool) -> Place | None:
    """Save the cloud, which was verified, as golden, unless there is one (that is whole, and not built `anew`).

    Where it cannot be, it says why; only a cloud that does not run on afterwards raises.
    """
    from halab.snapshot import intent
    from halab.snapshot.save import save
    from halab.snapshot.site import Site

    if store.limit() == 0:
        return None
    try:
        site = Site(workspace, choice)
    except RefusedError:
        return None
    place = store.golden(workspace.state, key(workspace, site.kind, domain_type))
    if place.exists():
        if not anew and _is_readable(place):
            return None
        store.remove(place)
    console.print("keeping it as a golden cloud: the next up of the same is a matter of seconds (--no-golden: do not)")
    steps = Steps(console)
    try:
        save(site, place, steps, steps.say)
    except (HalabError, EngineError, HypervisorError) as error:
        if intent.read(workspace) is not None:
            raise
        console.print(f"not kept: {error}", style="yellow")
        return None
    took = text.duration(sum(steps.seconds.values()))
    console.print(f"  {place.name} after {took}: {text.size(store.alone(place))}; see ./halab snapshot list")
    _make_room(workspace, console)
    return place


def _is_readable(place: Place) -> bool:
    try:
        store.read(place)
    except DamagedError:
        return False
    return True


def _make_room(workspace: Workspace, console: Console) -> None:
    """Goldens unused for longest go until all snapshots fit into what they may take."""
    places = store.every(workspace.state)
    goldens = [(place, place.used, place.inodes()) for place in places if place.golden]
    named = [place.inodes() for place in places if not place.golden]
    for place in store.evicted(goldens, named, store.limit()):
        freed = store.remove(place)
        console.print(
            f"  {place.name} went: all together took more than {text.size(store.limit())} ({store.LIMIT}); "
            f"{text.size(freed)} came free"
        )
