"""What the keys of a stack must be to each other. Each check names the keys it looked at.

A finding that rests on a key that is itself wrong is left out; all others are told with the keys' own mistakes.
"""

from __future__ import annotations

from components.variant.checks import cluster, room, services
from components.variant.checks.finding import Check

CHECKS: tuple[Check, ...] = (
    cluster.membership,
    cluster.quorum,
    services.homes,
    services.services,
    services.numbers,
    services.managed,
    services.cache,
    cluster.vips,
    cluster.fencing,
    cluster.timers,
    room.networks,
    room.memory,
    room.fork,
)
