"""Waiting for a condition, with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable

_INTERVAL = 0.02


def wait_for(condition: Callable[[], bool], limit: float) -> bool:
    """Evaluate `condition` until it holds; False when it did not within `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_INTERVAL)
    return True
