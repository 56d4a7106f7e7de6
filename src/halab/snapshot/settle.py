"""What a command does first for a stack whose save or restore was cut short."""

from __future__ import annotations

from pathlib import Path

from halab.snapshot import intent
from halab.snapshot.restore import again
from halab.snapshot.save import bring_back
from halab.snapshot.site import Say, Site, Step, locked


def settle(site: Site, step: Step, say: Say) -> bool:
    """A save that was cut short is undone, the cloud running as before; a restore is done again. False: nothing was.

    Raises LockedError while whoever does it is alive.
    """
    if intent.read(site.workspace) is None:
        return False
    with locked(site.workspace, say):
        found = intent.read(site.workspace)
        if found is None:
            return False
        if found.op == "restore":
            say(f"a restore of {Path(found.folder).name} was cut short: it is done again")
            again(site, found, step, say)
            return True
        say("a snapshot was cut short: its cloud is brought back, what was written of it goes")
        site.fence.hold()
        site.start()
        with site.live() as live:
            bring_back(site, live, step, say)
    return True
