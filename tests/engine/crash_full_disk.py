"""A world on a file system that is too small, in a mount namespace of its own; prints what each run came to, as JSON.

Run by test_crash_full_disk.py as `unshare --mount python crash_full_disk.py FOLDER`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.engine.test_crash_engine import World, opened

#: KiB of the file system, and of it what is left to each up.
SIZE, LEFT = 24 << 10, (0, 8, 300, 900)
PAGE = 4096


def fill(folder: Path, left: int) -> None:
    """Leaves `left` KiB of the file system, less what a page takes."""
    with (folder / "ballast").open("wb") as file:
        free = shutil.disk_usage(folder).free - (left << 10)
        file.write(bytes(max(free - free % PAGE, 0)))


def tried(world: World, *what: str) -> dict[str, Any]:
    """An error that ends the run is an answer here."""
    try:
        return world.do(*what, running="a")
    except AssertionError as error:
        return {"raised": str(error)}


def main(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}k,mode=0700", "tmpfs", folder], check=True)
    seen: list[dict[str, Any]] = []
    with opened(folder) as world:
        world.good("up")
        world.good("destroy")
        for left in LEFT:
            fill(folder, left)
            failed = tried(world, "up")
            (folder / "ballast").unlink()
            world.hypervisor.start()
            world.good("refresh", "up")
            world.check(up=True)
            world.good("destroy")
            world.check(up=False)
            seen.append({"left": left, "up": failed})
        world.good("up")
        fill(folder, 0)
        seen.append({"down": tried(world, "destroy"), "left over": world.hypervisor.remove()})
        (folder / "ballast").unlink()
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
