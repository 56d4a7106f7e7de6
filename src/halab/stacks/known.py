"""Every stack on this host: from its files, its folder in the state, and the processes that live."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from components.topology import Topology
from components.variant import StackError
from components.variant.keys import STACK_NAME
from halab.embedded.engine.lock import held
from halab.embedded.hypervisor.paths import HypervisorError, state_folder
from halab.stacks.claims import EMBEDDED, Claim
from halab.stacks.machines import Running
from halab.workspace import Record, Workspace, read_record


class Condition(StrEnum):
    """`busy`: a command is changing it. `interrupted`: an up or a down ended before its time."""

    BUSY = "busy"
    VERIFIED = "verified"
    UP = "up"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    DOWN = "down"


def condition(record: Record | None, *, busy: bool, running: int, traces: bool) -> Condition:
    """`running`: how many of its VMs do; `traces`: whether its folder or its state is there. Pure."""
    if busy:
        return Condition.BUSY
    if record is None or not record.hypervisor:
        return Condition.INTERRUPTED if traces or running else Condition.DOWN
    if not (record.built or record.verified):
        return Condition.INTERRUPTED
    if not running:
        return Condition.STOPPED
    return Condition.VERIFIED if record.verified else Condition.UP


@dataclass(frozen=True)
class Known:
    """`state`: the folder of the stacks it is among. `file`: its stack file in this checkout, None when there is none.

    `workspace`: as it was last brought up, else by its file; None when neither can be read any more.
    """

    name: str
    state: Path
    file: Path | None
    workspace: Workspace | None
    record: Record | None
    busy: bool
    traces: bool
    machines: tuple[Running, ...]

    @property
    def topology(self) -> Topology | None:
        return self.workspace.topology if self.workspace else None

    @property
    def is_up(self) -> bool:
        """Whether it has, or is about to have, something on this host."""
        return self.record is not None and bool(self.record.hypervisor)

    @property
    def claim(self) -> Claim | None:
        """What it has taken, None when it is down."""
        if self.record is None or not self.record.hypervisor or self.topology is None:
            return None
        return Claim.of(self.topology, self.record.hypervisor)

    @property
    def root(self) -> Path:
        return self.state / "stacks" / self.name


def known(project: Path, processes: Iterable[Running], state: Path | None = None) -> list[Known]:
    """All stacks, by name: those of the checkout and of the state folder, and those of others' state folders that run
    something."""
    own = state or state_folder()
    processes = tuple(processes)
    files = {path.stem.removeprefix("Pulumi."): path for path in sorted((project / "stacks").glob("Pulumi.*.yaml"))}
    names = {(own, name) for name in files} | {(own, name) for name in _names(own)}
    names |= {(one.root.parent.parent, one.root.name) for one in processes if one.root}
    return [
        _known(project, state, name, files.get(name) if state == own else None, processes)
        for state, name in sorted(names, key=lambda one: (one[0] != own, one[1], one[0]))
        if STACK_NAME.fullmatch(name)
    ]


def _names(state: Path) -> Iterator[str]:
    for path in (state / "stacks").glob("*"):
        if path.is_dir():
            yield path.name
    for path in (state / "pulumi" / ".pulumi" / "stacks" / "halab").glob("*.json"):
        yield path.stem


def _known(project: Path, state: Path, name: str, file: Path | None, processes: tuple[Running, ...]) -> Known:
    root = state / "stacks" / name
    checkpoint = state / "pulumi" / ".pulumi" / "stacks" / "halab" / f"{name}.json"
    workspace, record = None, read_record(root / "halab.json")
    with suppress(StackError, HypervisorError):
        workspace = Workspace.standing(project, name, state)
    own = [one for one in processes if one.root == root]
    if workspace and record and record.hypervisor not in ("", EMBEDDED):
        names = {node.domain for node in workspace.topology.nodes}
        own = [one for one in processes if one.root is None and one.domain in names]
    return Known(
        name=name,
        state=state,
        file=file,
        workspace=workspace,
        record=record,
        busy=any(map(held, (*root.parent.glob(f".{name}.*.lock"), checkpoint.with_suffix(".lock")))),
        traces=root.exists() or checkpoint.exists(),
        machines=tuple(own),
    )


def occupied(folder: Path) -> int:
    """Bytes that the files below a folder take of the disk; 0 for one that cannot be read."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for where, _folders, files in os.walk(folder):
        for name in files:
            try:
                status = os.lstat(os.path.join(where, name))
            except OSError:
                continue
            if (key := (status.st_dev, status.st_ino)) not in seen:
                seen.add(key)
                total += status.st_blocks * 512
    return total
