"""What `halab recover` shows: what each member says of itself, and what follows from it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from halab.display.model import table
from halab.recover import Database, Decision, Queue, What
from halab.recover.carry_out import Seen

_WORDS = {
    What.NOTHING: "all members are up",
    What.JOIN: "the others follow",
    What.FIRST: "{first} first",
    What.FORCE: "{first} first, by force",
    What.TOGETHER: "all at once",
    What.REFUSE: "not to be decided without you",
}


def seen_table(seen: Seen) -> Table:
    shown = table("member", "unit", "says")
    for database in seen.databases:
        shown.add_row(f"galera {database.node}", database.unit, database.problem or _database(database))
    for queue in seen.queues:
        shown.add_row(f"rabbitmq {queue.node}", queue.unit, queue.problem or _queue(queue))
    return shown


def _database(one: Database) -> str:
    if not one.member:
        return "was never in the cluster"
    at = f"history {one.uuid or 'none'} at {'?' if one.position is None else one.position}"
    if one.component:
        return f"{one.component}, {one.state}; {at}"
    return at + ("; the last to leave" if one.last else "")


def _queue(one: Queue) -> str:
    if one.listens or one.pauses:
        return "runs" if one.listens else "pauses without a majority"
    if not one.members:
        return "was never in the cluster"
    return f"ran last with {', '.join(sorted(one.later))}" if one.later else "ran last alone"


def decision_lines(service: str, decision: Decision) -> RenderableType:
    """The decision and its reasons."""
    head = _WORDS[decision.what].format(first=decision.first)
    if decision.then and decision.what is not What.TOGETHER:
        head += f": {', '.join(decision.then)}" if decision.what is What.JOIN else f", then {', '.join(decision.then)}"
    style = "bold red" if decision.what is What.REFUSE else "bold"
    return Group(Text(f"{service}: {head}", style=style), *(Text(f"  because {why}") for why in decision.why))
