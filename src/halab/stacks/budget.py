"""Whether a stack fits a host beside the others: memory and disk, by numbers that somebody can check. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from components.topology import Node, Topology

#: MiB that the host itself needs: its kernel, halab, the daemons.
RESERVE = 2048
#: MiB that qemu needs for a VM beside the VM's memory.
QEMU_OVERHEAD = 64
#: How much of a thin disk's size a node is expected to write beyond its image. It may write all of it: an upper limit
#: that is held free for nobody.
WRITTEN = 0.2
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Use:
    """What one party has: `amount` in MiB of memory or bytes of disk."""

    who: str
    amount: int


def memory_of(node: Node, emulated: bool) -> int:
    """MiB that a VM takes of its host at most: its memory, qemu, and under emulation the translated code."""
    return node.memory + QEMU_OVERHEAD + (node.translations if emulated else 0)


def memory(topology: Topology, emulated: bool) -> int:
    """MiB that all VMs of a stack take of their host at most."""
    return sum(memory_of(node, emulated) for node in topology.nodes)


def allowance(node: Node) -> int:
    """Bytes that the disk of a node is expected to grow to, beside its image."""
    return int(node.disk * _GIB * WRITTEN)


def short_of_memory(need: int, others: Iterable[Use], host: int) -> str | None:
    """The refusal's words when `need` MiB do not go beside the others on a host of `host` MiB, else None."""
    uses = sorted((one for one in others if one.amount), key=lambda one: -one.amount)
    short = need + sum(one.amount for one in uses) + RESERVE - host
    if short <= 0:
        return None
    return (
        f"memory: {short} MiB short: its VMs take up to {need}, the host keeps {RESERVE}"
        f"{_listed(uses, 'MiB')}, and there are {host}"
    )


def short_of_disk(need: int, others: Iterable[Use], free: int, where: str) -> str | None:
    """The same for bytes of disk: `need` and what the others will still write, against what is free at `where`."""
    uses = sorted((one for one in others if one.amount), key=lambda one: -one.amount)
    short = need + sum(one.amount for one in uses) - free
    if short <= 0:
        return None
    grown = [Use(f"{one.who} (to grow)", gib(one.amount)) for one in uses]
    return (
        f"disk: {gib(short)} GiB short at {where}: images and what its VMs are expected to write take {gib(need)}"
        f"{_listed(grown, 'GiB')}, and {free // _GIB} are free"
    )


def _listed(uses: Iterable[Use], unit: str) -> str:
    return "".join(f", {one.who} {one.amount} {unit}" for one in uses)


def gib(amount: int) -> int:
    """Bytes as whole GiB, rounded up."""
    return -(-amount // _GIB)
