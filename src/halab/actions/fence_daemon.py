"""The stack's fence_virtd, as its program asks for it."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from halab.embedded.hypervisor import Fence, FenceConfig, FenceGroup, Hypervisor
from halab.embedded.hypervisor.paths import Paths, state_folder
from halab.errors import DONE, HalabError


def parse(text: str) -> tuple[str, FenceConfig]:
    """The libvirt URI and the daemon's configuration. Raises HalabError for anything but the agreed JSON."""
    try:
        found: dict[str, Any] = json.loads(text)
        groups = tuple(FenceGroup(g["name"], tuple(g["addresses"]), tuple(g["domains"])) for g in found["groups"])
        config = FenceConfig(bridge=found["bridge"], key=base64.b64decode(found["key"], validate=True), groups=groups)
        return found["uri"], config
    except (ValueError, KeyError, TypeError) as error:
        raise HalabError(f"fence-daemon start: stdin is not the program's JSON ({type(error).__name__})") from None


def start(stack: str) -> int:
    uri, config = parse(sys.stdin.read())
    hypervisor = Hypervisor(stack, state_folder())
    if uri == hypervisor.uri:
        hypervisor.start_fence(config)
    else:
        fence = Fence(Paths.of(stack), uri)
        fence.configure(config)
        fence.start(())
    print(f"fence_virtd listens on {config.bridge}")
    return DONE


def stop(stack: str) -> int:
    Hypervisor(stack, state_folder()).stop_fence()
    print("fence_virtd ended")
    return DONE
