"""A command of halab's in which something dies at a point: `python crash_halab.py NOTE WHO AT COMMAND…`; AT 0: nothing.

WHO: "halab", or "libvirtd", that of the stack `tiny`. NOTE gets the name of the point, or how many there were. `settle`
is what every command does first for a stack whose save or restore was cut short.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from halab import hypervisors
from halab.actions import golden
from halab.cli.app import run
from halab.cli.options import workspace
from halab.display import text
from halab.embedded.hypervisor import Fence, Hypervisor
from halab.snapshot import disks, intent, manifest, state
from tests.engine.crash_points import Points


def main(note: Path, who: str, at: int, *command: str) -> int:
    def die(name: str) -> None:
        note.write_text(name)
        daemons = [one.pid for one in Hypervisor("tiny").processes() if one.role == "libvirtd"]
        for pid in daemons if who == "libvirtd" else [os.getpid()]:
            os.kill(pid, signal.SIGKILL)

    if command[0] == "settle":
        found = workspace(command[1])
        golden.settle(found, hypervisors.choose(found), text.console())
        return 0
    points = Points(at, "", die)
    points.around_libvirt()
    for module, names in (
        (disks, ("fill", "overlay", "share")),
        (intent, ("forget", "note")),
        (manifest, ("write",)),
        (state, ("keep", "put_back")),
        (Fence, ("hold", "release")),
    ):
        for name in names:
            points.around(module, name, name)
    code = run(list(command))
    if not at:
        note.write_text(str(points.count))
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))
