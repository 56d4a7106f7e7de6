"""What of a stack's hypervisor is still on the host when nothing of it runs."""

from __future__ import annotations

from pathlib import Path

from halab.embedded.hypervisor.paths import Paths
from halab.embedded.hypervisor.processes import parse_mountinfo


def files(paths: Paths) -> list[str]:
    """What is stored of the stack, a line each."""
    patterns = (
        ("socket", paths.run, "libvirt/**/*-sock*"),
        ("pid file", paths.run, "*.pid"),
        ("domain", paths.etc, "qemu/*.xml"),
        ("network", paths.etc, "qemu/networks/*.xml"),
        ("pool", paths.etc, "storage/*.xml"),
        ("volume", paths.pool, "**/*"),
        ("nvram", paths.lib, "qemu/nvram/*"),
        ("saved domain", paths.lib, "qemu/save/*"),
        ("lease", paths.lib, "dnsmasq/*"),
        ("key", paths.keys, "*"),
        ("fencing", paths.fence, "*"),
    )
    found = [
        f"{kind} {path}"
        for kind, folder, pattern in patterns
        for path in sorted(folder.glob(pattern))
        if not path.is_dir()
    ]
    found += [f"folder {folder}" for folder in paths.folders if folder.exists()]
    return found


def mounts(paths: Paths) -> list[str]:
    """What is mounted in its folders, seen from here, a line each."""
    root = str(paths.root)
    table = parse_mountinfo(Path("/proc/self/mountinfo").read_text(errors="replace"))
    return [f"mount {one.target}" for one in table if one.target == root or one.target.startswith(root + "/")]
