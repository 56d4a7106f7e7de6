"""The machine this process runs on, as /proc tells."""

from __future__ import annotations

import platform
from pathlib import Path


def meminfo(name: str) -> int:
    """MiB of a line of /proc/meminfo (proc(5)). Raises KeyError for a name that is not in it."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) >> 10
    raise KeyError(name)


def cpu_model() -> str:
    """The processor's name, or its architecture where /proc/cpuinfo has none."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
