"""The machine this process runs on, as /proc and /sys tell."""

from __future__ import annotations

import platform
from pathlib import Path

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def meminfo(name: str) -> int:
    """MiB of a line of /proc/meminfo (proc(5)). Raises KeyError for a name that is not in it."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) >> 10
    raise KeyError(name)


def memory_limit() -> tuple[int, str] | None:
    """The limit of the control group this process is in: MiB, and the file that says so. None where there is none.

    cgroup v2 says "max" for none, v1 a number that no memory reaches.
    """
    for name in _CGROUP_LIMITS:
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        return (int(text) >> 20, name) if text.isdigit() and int(text) < 1 << 60 else None
    return None


def cpu_model() -> str:
    """The processor's name, or its architecture where /proc/cpuinfo has none."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
