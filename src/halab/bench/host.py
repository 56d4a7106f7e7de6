"""The machine that a figure was taken on, as a reader must know it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from halab.host.install import qemu_version
from halab.host.machine import cpu_model, meminfo
from halab.host.probe import virt_type


def describe(state: Path) -> dict[str, Any]:
    """Taken before a bench: `load` is that of the minute before. Boots the KVM probe's guest where it must."""
    probe = virt_type(state)
    qemu = qemu_version()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(),
        "memory_mib": meminfo("MemTotal"),
        "available_mib": meminfo("MemAvailable"),
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "qemu": ".".join(map(str, qemu)) if qemu else None,
        "virtualization": probe.domain_type,
        "python": platform.python_version(),
    }
