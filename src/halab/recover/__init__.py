"""Which member of a database or queue cluster comes first when all have stopped. Pure but for the recipe's text.

Seeds: ha-keepalived.md, "Manual recovery after a full cluster restart". Galera writes how far it came, and who was the
last to leave, to grastate.dat; RabbitMQ writes which members still ran when it stopped, and waits at its start for one
that stopped after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from components.recipe import Recipe

RECIPE = Recipe(Path(__file__).with_name("recover.sh"))
_NO_UUID = "00000000-0000-0000-0000-000000000000"


class What(StrEnum):
    """NOTHING: all are up. JOIN: some are, the others follow. FIRST: one makes the cluster, the others follow.

    FORCE: as FIRST, though others may have stopped later. TOGETHER: all at once, they agree. REFUSE: nothing is done.
    """

    NOTHING = "nothing"
    JOIN = "join"
    FIRST = "first"
    FORCE = "force"
    TOGETHER = "together"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Decision:
    """`first` is up before `then`; `aside`: members whose data is kept aside and replaced by the others'.

    `why` has a line per reason; for REFUSE what has to be known.
    """

    what: What
    first: str = ""
    then: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Database:
    """One Galera member as seen: `problem` where its node does not answer; `component` while MariaDB answers.

    `uuid`, `position` (None: not known) and `last` (safe_to_bootstrap) count only where `member`: what an image brings
    with it was never part of the cluster.
    """

    node: str
    problem: str = ""
    unit: str = ""
    component: str = ""
    state: str = ""
    member: bool = False
    uuid: str = ""
    position: int | None = None
    last: bool = False

    @property
    def serves(self) -> bool:
        return self.component == "Primary" and self.state in ("Synced", "Donor/Desynced")


@dataclass(frozen=True, slots=True)
class Queue:
    """One RabbitMQ member as seen: the members it knows of, and those that ran when it last knew, itself among them.

    One whose unit is active and that does not listen pauses: it goes on by itself when it sees a majority.
    """

    node: str
    problem: str = ""
    unit: str = ""
    listens: bool = False
    members: frozenset[str] = frozenset()
    running: frozenset[str] = frozenset()

    @property
    def pauses(self) -> bool:
        return self.unit == "active" and not self.listens

    @property
    def later(self) -> frozenset[str]:
        """Those that stopped after it, or at the same time."""
        return self.running - {self.node}


def facts(text: str) -> dict[str, str]:
    """The `key=value` lines that the recipe says."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value for key, found, value in pairs if found}


def database(node: str, seen: Mapping[str, str], problem: str = "") -> Database:
    """What a node said of its Galera member; of two positions the one that MariaDB itself tells."""
    position = next((seen[key] for key in ("committed", "seqno", "recovered") if _number(seen.get(key)) >= 0), None)
    return Database(
        node=node,
        problem=problem,
        unit=seen.get("mariadb", ""),
        component=seen.get("component", ""),
        state=seen.get("state", ""),
        member=seen.get("member") == "yes",
        uuid=seen.get("uuid", "") if seen.get("uuid") != _NO_UUID else "",
        position=None if position is None else int(position),
        last=seen.get("last") == "1",
    )


def _number(text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        return -1


def queue(node: str, seen: Mapping[str, str], problem: str = "") -> Queue:
    return Queue(
        node=node,
        problem=problem,
        unit=seen.get("rabbitmq", ""),
        listens=seen.get("listens") == "yes",
        members=frozenset(seen.get("members", "").split()),
        running=frozenset(seen.get("running", "").split()),
    )


def _names(members: Iterable[Database | Queue]) -> str:
    return ", ".join(member.node for member in members)


def _refuse(*why: str) -> Decision:
    return Decision(What.REFUSE, why=why)


def galera(members: Sequence[Database], trust: str = "") -> Decision:
    """Who makes the cluster. `trust` decides only where the members alone cannot."""
    present = [one for one in members if not one.problem]
    decision = _join_galera(present) or _first_galera(members)
    trusted = next((one for one in present if one.node == trust), None)
    if decision.what is not What.REFUSE or trusted is None:
        return decision
    return _trust_galera(members, trusted, decision.why)


def _join_galera(present: Sequence[Database]) -> Decision | None:
    """Some are in a primary component already, whether it never ended or they found one another again."""
    primary = [one for one in present if one.component == "Primary"]
    if not primary:
        return None
    if len({one.uuid for one in primary}) > 1:
        return _refuse(f"{_names(primary)} serve in clusters of different histories: each has what the others lack")
    left = tuple(one.node for one in present if not one.serves)
    why = f"{_names(primary)} {'is' if len(primary) == 1 else 'are'} in a primary component"
    return Decision(What.JOIN if left else What.NOTHING, then=left, why=(why,))


def _first_galera(members: Sequence[Database]) -> Decision:
    known = [one for one in members if one.member and not one.problem]
    absent = [one for one in members if one.problem]
    if not known:
        return _refuse("no member that answers was ever in the cluster")
    if len({one.uuid for one in known}) > 1:
        histories = "; ".join(f"{one.node} has {one.uuid or 'none'}" for one in known)
        return _refuse(f"the members' data are of different histories: {histories}")
    unknown = [one for one in known if one.position is None]
    if unknown:
        return _refuse(f"how far {_names(unknown)} came is not known")
    last = [one for one in known if one.last]
    ahead = max(known, key=lambda one: one.position or 0)
    if len(last) > 1:
        return _refuse(f"{_names(last)} each say that they were the last to leave: each may have what the others lack")
    if last and _behind(last[0], ahead):
        return _refuse(
            f"{last[0].node} says that it was the last to leave, at {last[0].position}; "
            f"{ahead.node} is at {ahead.position}"
        )
    if not last and absent:
        return _refuse(f"{_names(absent)} cannot be asked, and none of the others was the last to leave")
    if last:
        first, why = last[0], f"{last[0].node} was the last to leave, at {last[0].position} (safe_to_bootstrap)"
    else:
        # The last of equals, as at the first start: the agent's choice, and the plan's.
        first = [one for one in known if one.position == ahead.position][-1]
        equal = [one for one in known if one.position == first.position and one is not first]
        why = f"{first.node} came farthest, to {first.position}"
        why += f", as did {_names(equal)}: the same data" if equal else ""
    return Decision(What.FIRST, first.node, tuple(_others(members, first)), why=(why,))


def _behind(one: Database, other: Database) -> bool:
    return (one.position or 0) < (other.position or 0)


def _others(members: Iterable[Database | Queue], first: Database | Queue) -> Iterable[str]:
    return (one.node for one in members if one.node != first.node and not one.problem)


def _trust_galera(members: Sequence[Database], trusted: Database, doubts: tuple[str, ...]) -> Decision:
    """The trusted member's data is the cluster's; whatever the others have beyond it is told, and lost."""
    if not trusted.member or not trusted.uuid or trusted.position is None:
        return _refuse(*doubts, f"{trusted.node} has no data of a cluster to trust: all would become empty")
    why = [*doubts, f"{trusted.node}, at {trusted.position}, is trusted"]
    for one in members:
        if one.problem:
            why.append(f"what only {one.node} has is lost when it comes back")
        elif one.member and one.uuid != trusted.uuid:
            why.append(f"{one.node} loses its own history")
        elif one.member and one.position is not None and _behind(trusted, one):
            why.append(f"{one.node} loses {one.position - trusted.position} transactions")
    aside = tuple(one.node for one in members if one.component == "Primary" and one is not trusted and not one.problem)
    what = What.JOIN if trusted.component == "Primary" else What.FIRST
    return Decision(what, trusted.node, tuple(_others(members, trusted)), aside, tuple(why))


def rabbitmq(members: Sequence[Queue], trust: str = "") -> Decision:
    """In which order the members start. `trust` decides only where the members alone cannot."""
    present = [one for one in members if not one.problem]
    if len(present) <= len(members) // 2:
        return _refuse(
            f"{len(present)} of {len(members)} members answer; without a majority RabbitMQ pauses, whoever is trusted"
        )
    decision = _order_rabbitmq(members)
    trusted = next((one for one in present if one.node == trust), None)
    if decision.what is not What.REFUSE or trusted is None:
        return decision
    return _trust_rabbitmq(members, trusted, decision.why)


def _order_rabbitmq(members: Sequence[Queue]) -> Decision:
    present = [one for one in members if not one.problem]
    absent = {one.node for one in members if one.problem}
    known = [one for one in present if one.members]
    strangers = [(a, b) for a in known for b in known if b.node not in a.members]
    if strangers:
        first, second = strangers[0]
        return _refuse(f"{first.node} and {second.node} are of separate clusters: {first.node} does not know the other")
    up = [one for one in present if one.listens or one.pauses]
    if up:
        left = tuple(one.node for one in present if not one.listens)
        seen = tuple(f"{one.node} {'runs' if one.listens else 'waits for a majority'}" for one in up)
        return Decision(What.JOIN if left else What.NOTHING, then=left, why=seen)
    last = [one for one in known if not one.later]
    if len(last) > 1:
        return _refuse(f"{_names(last)} each ran alone at last: each may have messages that the others lack")
    if last:
        why = f"{last[0].node} was the last to stop: the others wait for it"
        return Decision(What.FIRST, last[0].node, tuple(_others(members, last[0])), why=(why,))
    awaited = sorted(absent & {name for one in known for name in one.later})
    if awaited:
        return _refuse(f"{', '.join(awaited)} ran when {_names(known)} stopped, and cannot be asked")
    if not known:
        return _refuse("no member that answers was ever in the cluster")
    why = "they stopped at once, so each waits for the others"
    return Decision(What.TOGETHER, then=tuple(one.node for one in present), why=(why,))


def _trust_rabbitmq(members: Sequence[Queue], trusted: Queue, doubts: tuple[str, ...]) -> Decision:
    if not trusted.members:
        return _refuse(*doubts, f"{trusted.node} has no data of a cluster to trust: all would become empty")
    present = [one for one in members if not one.problem and one.node != trusted.node]
    aside = [one for one in present if trusted.node not in one.members or one.node not in trusted.members]
    aside += [one for one in present if one.members and not one.later and one not in aside]
    why = [*doubts, f"{trusted.node} is trusted"]
    why += [f"what only {one.node} has is kept aside on it and used no more" for one in aside]
    why += [f"what only {one.node} has is lost when it comes back" for one in members if one.problem]
    what = What.JOIN if trusted.listens else What.FORCE
    others = tuple(one.node for one in present)
    return Decision(what, trusted.node, others, tuple(one.node for one in aside), tuple(why))
