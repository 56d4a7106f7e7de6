"""Runs `up` twice over a project in a process of its own and prints what the second one cost, as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from halab.embedded.engine import Engine
from tests.engine.local_command import LocalCommand


def main(directory: Path) -> None:
    def engine() -> Engine:
        return Engine(directory, "test", directory / "state", "pass", {"command": lambda: LocalCommand(directory)})

    first = engine().up()
    assert first.ok, first.failures
    before = _cpu()
    started = time.monotonic()
    again = engine().up()
    cost = {
        "same": again.counts.get("same", 0),
        "changed": again.changed,
        "seconds": time.monotonic() - started,
        "cpu_seconds": _cpu() - before,
        "kib": sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)),
    }
    print(json.dumps(cost))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
