"""What a saved RAM image needs of a host, and whether this one is that."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from halab.errors import RefusedError
from halab.snapshot.manifest import Host

_EMULATOR = "qemu-system-x86_64"
_WORDS: Mapping[str, str] = {
    "hypervisor": "hypervisor",
    "domain_type": "kind of VM",
    "qemu": "emulator",
    "cpu": "processor",
}


def here(hypervisor: str, domain_type: str) -> Host:
    """This host. `hypervisor`: "embedded" or "system". Raises RefusedError without an emulator."""
    try:
        said = subprocess.run([_EMULATOR, "--version"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        raise RefusedError(f"{_EMULATOR} is not installed; run ./halab doctor") from None
    qemu = (said.splitlines() or ["unknown"])[0].removeprefix("QEMU emulator version ")
    # an emulated processor is the same on every host; what KVM passes through is the host's own
    return Host(hypervisor, domain_type, qemu, _cpu(Path("/proc/cpuinfo").read_text()) if domain_type == "kvm" else "")


def _cpu(cpuinfo: str) -> str:
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.*)$", cpuinfo, re.MULTILINE)
    digest = hashlib.sha256(" ".join(sorted(flags[1].split() if flags else [])).encode()).hexdigest()
    return f"{model[1] if model else 'unknown'} ({digest[:12]})"


def differs(saved: Host, now: Host) -> str | None:
    """Why RAM saved there cannot be resumed here, in one line, or None."""
    for one in fields(Host):
        was, is_ = getattr(saved, one.name), getattr(now, one.name)
        if was != is_:
            return f"its RAM was saved under another {_WORDS[one.name]}: {was or 'none'}, here it is {is_ or 'none'}"
    return None
