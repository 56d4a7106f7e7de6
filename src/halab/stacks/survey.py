"""One line of facts for every stack on this host, as `list` and `prune` show them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from components.variant import Variant
from halab import hypervisors
from halab.embedded.provider import ProviderError
from halab.stacks import ages, budget, claims, objects
from halab.stacks.admission import pool_folder
from halab.stacks.claims import EMBEDDED
from halab.stacks.known import Condition, Known, condition, known, occupied
from halab.stacks.machines import running
from halab.workspace import Workspace

#: Seconds for a libvirt to say that it is there: a list is not worth waiting for one that hangs.
_ANSWER_LIMIT = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """`age` in seconds since the first up, or of the file of a stack that is down; None where it is not known.

    `running` of `defined` VMs (None: their libvirt does not answer), `memory` in bytes that they have and `promised` in
    MiB that they may take, `disk` in bytes; `state`: the folder of the stacks it is among.
    """

    name: str
    variant: str
    owner: str
    since: str
    age: float | None
    condition: Condition
    running: int
    defined: int | None
    memory: int
    promised: int
    disk: int
    hypervisor: str
    file: str
    state: str

    @property
    def own_file(self) -> bool:
        """Whether its file is a developer's, none of those that come with halab."""
        return bool(self.file) and self.name not in set(Variant)


def survey(project: Path, state: Path) -> list[Row]:
    """Those of this checkout and state folder first, then those of others' state folders that run something."""
    stacks = known(project, running(), state)
    uris = {one.record.hypervisor for one in stacks if one.record} - {"", EMBEDDED}
    there = {uri: _owners(uri) for uri in sorted(uris)}
    now = datetime.now(UTC)
    return [_row(one, there, now) for one in stacks]


def _owners(uri: str) -> Mapping[str, Sequence[str]] | None:
    """The domains at a libvirt by the cloud they are of; None where it does not answer, or is another host's."""
    if not claims.on_this_host(uri) or not hypervisors.answers(uri, _ANSWER_LIMIT):
        return None
    try:
        return objects.owners(uri)
    except ProviderError:
        return None


def _row(one: Known, there: Mapping[str, Mapping[str, Sequence[str]] | None], now: datetime) -> Row:
    machines = [machine for machine in one.machines if machine.domain]
    at = one.record.hypervisor if one.record else ""
    defined: int | None
    if at in ("", EMBEDDED):
        defined = len(list((one.root / "etc" / "qemu").glob("*.xml")))
    else:
        owners = there[at]
        cloud = one.topology.stack.cloud if one.topology else one.name
        defined = None if owners is None else len(owners.get(cloud, ()))
    disk = occupied(one.root)
    if at not in ("", EMBEDDED) and one.topology and claims.on_this_host(at):
        disk += occupied(pool_folder(one.topology, at, one.root / "pool"))
    return Row(
        name=one.name,
        variant=str(one.topology.stack.variant) if one.topology else "",
        owner=one.record.owner if one.record else "",
        since=one.record.since if one.record else "",
        age=_age(one, now),
        condition=condition(one.record, busy=one.busy, running=len(machines), traces=one.traces),
        running=len(machines),
        defined=defined,
        memory=sum(machine.rss for machine in one.machines),
        promised=sum(machine.memory + machine.translations + budget.QEMU_OVERHEAD for machine in machines),
        disk=disk,
        hypervisor=at,
        file=str(one.file) if one.file else "",
        state=str(one.state),
    )


def _age(one: Known, now: datetime) -> float | None:
    """By its record, which before halab noted the first up has only the time of its last change."""
    if one.record and (age := ages.since(one.record.since, now)) is not None:
        return age
    for path in (one.root / "halab.json", one.root, one.file):
        if path is not None and path.exists():
            return max(0.0, now.timestamp() - os.stat(path).st_mtime)
    return None


def total(rows: Iterable[Row]) -> tuple[int, int]:
    """MiB promised and bytes of memory in use, of all stacks."""
    rows = list(rows)
    return sum(row.promised for row in rows), sum(row.memory for row in rows)


def workspace(project: Path, row: Row) -> Workspace:
    """Raises StackError when nothing is known any more of what the stack is."""
    return Workspace.standing(project, row.name, Path(row.state))
