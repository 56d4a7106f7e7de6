"""Short names for resources: a step by its own name, the rest by kind and name."""

from __future__ import annotations

import re

#: URNs are urn:pulumi:stack::project::qualified$type::name.
_URN = re.compile(r"urn:pulumi:[^\s,;)'\"]+::[^\s,;:)'\"]+")
_HASH = re.compile(r"-[0-9a-f]{8,64}$")

_KINDS = {
    "libvirt:index/domain:Domain": ("machines", "VM"),
    "libvirt:index/volume:Volume": ("volumes", "volume"),
    "libvirt:index/cloudInitDisk:CloudInitDisk": ("volumes", "seed"),
    "libvirt:index/network:Network": ("fabric", "network"),
    "libvirt:index/pool:Pool": ("fabric", "pool"),
}


def type_of(urn: str) -> str:
    """The resource's own type token, its parents' left out."""
    return urn.split("::")[2].rpartition("$")[2] if urn.count("::") >= 3 else ""


def name_of(urn: str) -> str:
    """The resource's name without a content hash at its end."""
    return _HASH.sub("", urn.split("::", 3)[3]) if urn.count("::") >= 3 else urn


def is_work(urn: str) -> bool:
    """Whether an operation on it takes time: not for the stack, components and providers."""
    kind = type_of(urn)
    return kind.partition(":")[0] in ("libvirt", "command")


def label(urn: str) -> str:
    """What a line about it starts with: `galera.configure@controller-1`, `VM controller-1`, `seed controller-1`."""
    known = _KINDS.get(type_of(urn))
    name = name_of(urn)
    return f"{known[1]} {name.removesuffix('-domain').removesuffix('-seed')}" if known else name


def readable(text: str) -> str:
    """The text with URNs as labels."""
    return _URN.sub(lambda found: label(found[0]), text)


def stage(urn: str) -> str:
    """The group it is counted in: a step's stage, else what kind of thing it is."""
    known = _KINDS.get(type_of(urn))
    return known[0] if known else name_of(urn).partition(".")[0]
