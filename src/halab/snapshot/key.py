"""The key of a golden cloud: a hash of everything that makes a cloud what it is once it is built. Pure but for files.

Two stacks with one key would build the same cloud but for their secrets, which are rendered from a fixed seed here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import components
from components.cmdline import EMULATED, GUEST
from components.images import Image
from components.plan import plan
from components.secrets import Secrets
from components.seed import seed
from components.steps import Step
from components.topology import Topology, derive
from components.variant import Stack
from halab.snapshot.manifest import FORMAT, Host

_SECRETS = Secrets(bytes(32), datetime(2000, 1, 1, tzinfo=UTC))
#: What turns the model into resources: a change there may change a VM without a change in the model.
_RESOURCES = ("machine.py", "lab.py", "bootstrap.py", "stylesheet.py", "cmdline.py", "domain.xsl", "network.xsl")


def key(stack: Stack, images: Mapping[str, Image], host: Host) -> str:
    """64 hex digits. `images` by name, for every image of the stack's nodes."""
    topology = derive(
        # a fork is the same cloud, and where it runs is in `host`
        replace(stack, name=stack.cloud, fork_of=None, hypervisor=replace(stack.hypervisor, uri="auto"))
    )
    return hashlib.sha256(json.dumps(document(topology, images, host), sort_keys=True).encode()).hexdigest()


def document(topology: Topology, images: Mapping[str, Image], host: Host) -> dict[str, Any]:
    """What is hashed, as JSON."""
    folder = Path(components.__path__[0])
    return {
        "format": FORMAT,
        "host": asdict(host),
        "topology": _plain(topology),
        "images": {
            name: [file.digest for file in (image.disk, image.kernel, image.initrd)] for name, image in images.items()
        },
        "seeds": {node.name: _plain(seed(topology, node, _SECRETS)) for node in topology.nodes},
        "command_line": [*GUEST, *EMULATED],
        "resources": {name: (folder / name).read_text() for name in _RESOURCES},
        "steps": [_step(step) for step in sorted(plan(topology).steps, key=lambda step: step.name)],
    }


def _step(step: Step) -> dict[str, Any]:
    found = {one.name: _plain(getattr(step, one.name)) for one in fields(step) if one.name not in ("recipe", "files")}
    return {**found, "script": step.script()}


def _plain(value: Any) -> Any:
    """A tree of dataclasses as JSON, sets in order: the same in every process."""
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
