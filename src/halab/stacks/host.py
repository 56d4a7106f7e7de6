"""What this host has: routes, memory, room on disk; and who is asking."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from halab.host.machine import meminfo, memory_limit
from halab.stacks.claims import Taken


def routes() -> list[Taken]:
    """What the routing tables of this network namespace lead to, default routes left out; [] where ip is missing."""
    try:
        done = subprocess.run(
            ["ip", "-4", "-json", "route", "show", "table", "all"], capture_output=True, text=True, check=False
        )
        return list(parse_routes(json.loads(done.stdout or "[]")))
    except (OSError, ValueError):
        return []


def parse_routes(found: Iterable[Mapping[str, Any]]) -> Iterator[Taken]:
    """The answer of `ip -json route`. Half of the address space is a default route in two pieces, as VPNs make them."""
    for route in found:
        destination = str(route.get("dst", "default"))
        if destination == "default":
            continue
        cidr = IPv4Network(destination, strict=False)
        if cidr.prefixlen > 1 and not cidr.is_loopback:
            device = str(route.get("dev", ""))
            yield Taken(cidr, f"the route to {cidr}{f' ({device})' if device else ''}", device)


def memory() -> int:
    """MiB that this host has for everything: its memory, or the limit of the control group we are in."""
    total, limit = meminfo("MemTotal"), memory_limit()
    return total if limit is None else min(total, limit[0])


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def free(folder: Path) -> int:
    """Bytes free for this user where the folder is or will be."""
    return shutil.disk_usage(existing(folder)).free


def user() -> str:
    """Who asked: behind sudo the one who called it."""
    if os.geteuid() == 0 and (caller := os.environ.get("SUDO_USER")):
        return caller
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
