"""What is being done to a stack's cloud, on disk: so that after a death in the middle the next command knows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from halab.errors import HalabError
from halab.workspace import Workspace, write_json


class Phase(StrEnum):
    """How far it is. In SAVING disks and RAM are as they were; FREEZING: all RAM is on disk; RETURNING: new overlays
    are in place and VMs come back paused; RESUMING: VMs may run, so what is on disk is no longer what RAM knows of.
    """

    SAVING = "saving"
    FREEZING = "freezing"
    RETURNING = "returning"
    RESUMING = "resuming"


@dataclass(frozen=True, slots=True)
class Intent:
    """`op`: "save" or "restore"; `folder`: the snapshot that is written or read; `layers`: disk to its layer's name."""

    op: str
    folder: str
    phase: Phase
    layers: Mapping[str, str]


def file(workspace: Workspace) -> Path:
    return workspace.paths.root / "snapshot.json"


def read(workspace: Workspace) -> Intent | None:
    """None when nothing is under way. Raises HalabError for a file that cannot be understood."""
    path = file(workspace)
    try:
        found = json.loads(path.read_text())
        return Intent(found["op"], found["folder"], Phase(found["phase"]), found["layers"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise HalabError(
            f"{path}: cannot be read; it tells what was being done to the cloud: ./halab down --stack "
            f"{workspace.stack} takes it down nevertheless"
        ) from None


def note(workspace: Workspace, intent: Intent) -> None:
    """On disk when it returns."""
    write_json(file(workspace), asdict(intent))


def forget(workspace: Workspace) -> None:
    file(workspace).unlink(missing_ok=True)


def discard(workspace: Workspace) -> None:
    """For a cloud that goes or is replaced: what a dead save wrote goes, a restore is not done again."""
    try:
        found = read(workspace)
    except HalabError:
        found = None
    forget(workspace)
    if found is not None and found.op == "save":
        shutil.rmtree(found.folder, ignore_errors=True)
