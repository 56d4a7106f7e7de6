"""A libvirtd of the test's own, and what a host must have for one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from halab.embedded.hypervisor import Hypervisor
from halab.host.install import exists
from halab.host.requirements import Need, missing

LACKING = [one.name for one in missing(exists, [Need.ALWAYS, Need.EMBEDDED])]
needs_libvirt = pytest.mark.skipif(
    os.geteuid() != 0 or bool(LACKING), reason=f"needs root and what `halab doctor` installs; missing: {LACKING}"
)


@contextmanager
def libvirtd(name: str) -> Iterator[Hypervisor]:
    """A hypervisor that is up, for guests under emulation, in a folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hl") as folder:
        made = Hypervisor(name, Path(folder), kvm=False)
        try:
            made.start()
            yield made
        finally:
            assert made.remove() == []
