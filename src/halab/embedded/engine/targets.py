"""What a run is limited to, or asked to replace."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

from halab.embedded.engine import state


class Targets:
    """Which resources something is limited to: URNs, URN patterns with `*` and `**`, or plain resource names."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [re.compile(fnmatch.translate(pattern)) for pattern in patterns]

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def include(self, urn: str) -> bool:
        """Providers and the Stack are always included."""
        if not self._patterns or state.is_provider(state.urn_type(urn)) or state.urn_type(urn) == state.STACK_TYPE:
            return True
        return self.name(urn)

    def name(self, urn: str) -> bool:
        """Whether one of the patterns is for this resource."""
        return any(p.match(urn) or p.match(state.urn_name(urn)) for p in self._patterns)
