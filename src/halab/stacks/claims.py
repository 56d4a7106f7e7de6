"""What a stack takes of the libvirt and the network it is on, and where that meets what others have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import chain
from urllib.parse import urlsplit

from components.topology import Network, Topology

EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Claim:
    """`at`: "embedded" or a libvirt URI; `prefix`: what the names of the stack's libvirt objects begin with."""

    stack: str
    at: str
    prefix: str
    networks: tuple[Network, ...]

    @classmethod
    def of(cls, topology: Topology, at: str) -> Claim:
        return cls(topology.stack.name, at, topology.prefix, topology.networks)


@dataclass(frozen=True, slots=True)
class Taken:
    """Addresses that are in use; `by` says whose, for a sentence: "the route to 10.0.0.0/8 (wg0)"."""

    cidr: IPv4Network
    by: str
    bridge: str = ""


def on_this_host(uri: str) -> bool:
    """Whether a libvirt URI names no other host."""
    return not urlsplit(uri).hostname


def meet(one: str, other: str) -> bool:
    """Whether two stacks share a libvirt and a network, given where each is; an embedded hypervisor shares neither."""
    if EMBEDDED in (one, other):
        return False
    return one == other or (on_this_host(one) and on_this_host(other))


def clashes(mine: Claim, others: Iterable[Claim], taken: Iterable[Taken] = ()) -> list[str]:
    """What of `mine` cannot be, a line each: key, value, and who has it. `taken` is what is in use where `mine` goes.

    Another claim of the same stack is its own.
    """
    beside = [one for one in others if one.stack != mine.stack and meet(mine.at, one.at)]
    known = [*chain.from_iterable(map(taken_by, beside)), *taken]
    found = []
    for other in beside:
        if other.prefix == mine.prefix:
            found.append(
                f"cloud: {mine.prefix.removeprefix('halab-')!r}: stack {other.stack} has that name on {other.at}"
            )
    for network in mine.networks:
        key = f"networks.{network.key}: {str(network.cidr)!r}"
        for one in known:
            if one.cidr.overlaps(network.cidr):
                found.append(f"{key}: overlaps {one.by}")
            elif one.bridge == network.bridge:
                found.append(f"{key}: its bridge {network.bridge} is that of {one.by}")
    return list(dict.fromkeys(found))


def taken_by(claim: Claim) -> Iterator[Taken]:
    """The networks of a stack."""
    for network in claim.networks:
        yield Taken(network.cidr, f"{network.cidr} of stack {claim.stack}", network.bridge)


def moved(networks: Iterable[Network], taken: Iterable[Taken]) -> Mapping[str, IPv4Network]:
    """Where to put those of `networks` that are on taken addresses: key to the next free network of the same size.

    A key for which there is no free private network is absent.
    """
    busy = [one.cidr for one in taken]
    staying: list[Network] = []
    moving: list[Network] = []
    for network in networks:
        (moving if any(network.cidr.overlaps(one) for one in busy) else staying).append(network)
    busy += [network.cidr for network in staying]
    found: dict[str, IPv4Network] = {}
    for network in moving:
        for candidate in candidates(network.cidr):
            if not any(candidate.overlaps(one) for one in busy):
                found[network.key] = candidate
                busy.append(candidate)
                break
    return found


#: Where stacks' networks are looked for (RFC 1918).
_RANGES = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


def candidates(first: IPv4Network) -> Iterator[IPv4Network]:
    """Every other private network of that size: those after `first` in its range, those before, the other ranges."""
    home = next((one for one in _RANGES if first.subnet_of(one)), _RANGES[0])
    for space in (home, *(one for one in _RANGES if one != home)):
        count = 2 ** (first.prefixlen - space.prefixlen)
        begin = (
            (int(first.network_address) - int(space.network_address)) // first.num_addresses + 1 if space == home else 0
        )
        for index in range(count):
            address = int(space.network_address) + (begin + index) % count * first.num_addresses
            if (network := IPv4Network((address, first.prefixlen))) != first:
                yield network
