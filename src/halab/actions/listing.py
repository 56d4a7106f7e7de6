"""Show every stack on this host."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from halab.display import text
from halab.display.stacks import stacks
from halab.embedded.hypervisor.paths import state_folder
from halab.errors import DONE
from halab.stacks import host
from halab.stacks.survey import Row, survey, total


def run(project: Path, *, as_json: bool) -> int:
    state = state_folder()
    rows = survey(project, state)
    promised, used = total(rows)
    if as_json:
        found = {"memory_mib": host.memory(), "promised_mib": promised, "disk_free": host.free(state)}
        print(json.dumps({"stacks": [document(row) for row in rows], "host": found}, indent=1))
        return DONE
    console = text.console()
    console.print(stacks(rows, str(state)))
    console.print()
    console.print(
        f"memory: VMs may take {promised} of {host.memory()} MiB and have {text.size(used)}; "
        f"disk: {text.size(host.free(state))} free"
    )
    return DONE


def document(row: Row) -> dict[str, object]:
    """A row as programs read it: bytes, seconds."""
    return asdict(row)
