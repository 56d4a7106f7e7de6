"""What is said of a mistake: the key's path, the value, the rule, and what would be right. One safe line each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: The keys from the top to a value: ("roles", "compute", "count").
Path = tuple[str, ...]
#: Stands for any one key of a path.
ANY = "*"

_PLAIN = re.compile(r"[A-Za-z0-9_:*<-]{1,40}")
_SECRET = re.compile(
    r"pass?w|passphr|pwd|secret|credential|private|token|api_?key|(^|_)(key|pw|secure)$", re.IGNORECASE
)
#: What the keys and services are called elsewhere.
_SYNONYMS = {
    "ram": "memory",
    "mem": "memory",
    "cpu": "vcpus",
    "cpus": "vcpus",
    "cores": "vcpus",
    "nodes": "count",
    "mysql": "galera",
    "mariadb": "galera",
    "rabbit": "rabbitmq",
}
_LOGIN = re.compile(r"://([^/@\s]*):[^/@\s]*@")
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """`value` as `shown` gives it, empty where there is none to show; `line` of the file from 1, 0 where not known."""

    path: Path
    value: str
    rule: str
    line: int = 0

    @property
    def key(self) -> str:
        """The path with dots, as a line begins."""
        return ".".join(key if _PLAIN.fullmatch(key) else shown(key) for key in self.path)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.key, self.value, self.rule) if part)


@dataclass(frozen=True, slots=True)
class Odd:
    """A value that YAML's versions read differently, or none should have: `text` as written, `rule` what to write."""

    text: str
    rule: str


class StackError(ValueError):
    """A stack file that cannot be used: `found`, and `problems`, the same as a line each."""

    def __init__(self, source: str, problems: Iterable[str | Problem]) -> None:
        self.source = source
        self.found = tuple(Problem((), "", one) if isinstance(one, str) else one for one in problems)
        self.problems = tuple(map(str, self.found))
        places = (f"{source}:{one.line}" if one.line else source for one in self.found)
        super().__init__("\n".join(f"{place}: {text}" for place, text in zip(places, self.problems, strict=True)))


def is_secret(key: str) -> bool:
    """Whether a key's name says that its value is nobody's business."""
    return _SECRET.search(key) is not None


def shown(value: object, longest: int = 60) -> str:
    """A value as its file would have it: short, on one line, with nothing a terminal obeys, and no private key."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Odd):
        return shown(value.text)
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = str.__str__(value) if isinstance(value, str) else str(value)
    if "-----BEGIN" in text:
        return "***"
    text = _LOGIN.sub(r"://\1:***@", text)
    short = text if len(text) <= longest else f"{text[:longest]}…"
    # What Python finds unprintable is what could move a cursor or turn the line around.
    return repr(short) if isinstance(value, str) else short


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was most likely meant, or an empty string."""
    from difflib import get_close_matches

    plain = {re.sub(r"[\W_]", "", one.lower()): one for one in known}
    sought = re.sub(r"[\W_]", "", word[:_LONGEST].lower())
    if _SYNONYMS.get(sought) in plain:
        return _SYNONYMS[sought]
    found = get_close_matches(sought, plain, 1, 0.7)
    return plain[found[0]] if found else ""


def meets(pattern: Path, path: Path) -> bool:
    """Whether one of the two is the other or above it, `ANY` being every key."""
    return all(ANY in (one, other) or one == other for one, other in zip(pattern, path, strict=False))
