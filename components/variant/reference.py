"""The keys of a stack file as Markdown tables: `python -m components.variant.reference` renews docs/stack-file.md."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from components.variant.keys import SECTIONS, TOP, Key, role_keys
from components.variant.model import Role

PAGE = Path(__file__).resolve().parents[2] / "docs" / "stack-file.md"
BEGIN, END = "<!-- keys: written by python -m components.variant.reference -->", "<!-- keys end -->"


def _default(key: Key) -> str:
    if key.required:
        return "required"
    if isinstance(key.default, bool):
        return str(key.default).lower()
    if key.default is None:
        return "auto" if str(key.rule).startswith("auto") else "none"
    if isinstance(key.default, tuple | frozenset):
        return f"[{', '.join(key.default)}]"
    return str(key.default)


def _rule(key: Key) -> str:
    return str(key.rule).rstrip(",")


def _table(path: str, rows: Iterable[tuple[Key, str, str]]) -> Iterator[str]:
    """`rows`: keys with what is said of their rule and default."""
    yield "| key | meaning | rule | default |"
    yield "|---|---|---|---|"
    for key, rule, default in rows:
        yield f"| `{path}{key.name}` | {key.meaning} | {rule} | {default} |"
    yield ""


def _plain(keys: Iterable[Key]) -> Iterator[tuple[Key, str, str]]:
    return ((key, _rule(key), _default(key)) for key in keys)


def _roles() -> Iterator[str]:
    """One table for all roles, and one for what differs between them."""
    keys = {role: {key.name: key for key in role_keys(role)} for role in Role}
    first = keys[Role.CONTROLLER]
    differing = [name for name in first if len({str(keys[role][name].default) for role in Role}) > 1]
    rows = []
    for name, key in first.items():
        same = len({_rule(keys[role][name]) for role in Role}) == 1
        rule = _rule(key) if same else "a whole number from 1 to the most that the role's addresses allow, below"
        rows.append((key, rule, "below" if name in differing else _default(key)))
    yield from _table("roles.ROLE.", rows)
    yield f"| role | most nodes | {' | '.join(f'default {name}' for name in differing)} |"
    yield "|---|---|" + "---|" * len(differing)
    for role in Role:
        most = str(keys[role]["count"].rule).split(" to ")[1].split()[0]
        yield f"| `{role}` | {most} | {' | '.join(_default(keys[role][name]) for name in differing)} |"
    yield ""


def tables() -> str:
    """Every key, section by section."""
    lines = ["## The top", "", *_table("", _plain(TOP)), "## roles", "", *_roles()]
    for section, keys in SECTIONS.items():
        lines += [f"## {section}", "", *_table(f"{section}.", _plain(keys))]
    return "\n".join(lines)


def renewed(page: str) -> str:
    """The page with today's tables between its two marks. Raises ValueError for a page without them."""
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{PAGE}: the marks around the tables are missing")
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
    sys.stdout.write(f"{PAGE}\n")
