"""The kinds of values that keys have. A kind reads one value, or says what it needs and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network
from typing import Any, Protocol

from components.variant.problems import Odd, nearest

#: RFC 1918.
PRIVATE = tuple(IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))


class Wrong(Exception):
    """The value breaks the rule. `faults`: each part of it that does, with the rule and what would be right."""

    def __init__(self, *faults: tuple[object, str]) -> None:
        super().__init__()
        self.faults = faults


class Rule(Protocol):
    """`str()` of a rule completes "… is needed"."""

    def __str__(self) -> str: ...
    def read(self, value: object) -> Any:
        """The value as the model has it. Raises Wrong."""
        ...


def _fault(rule: object, value: object, hint: str = "") -> tuple[object, str]:
    told = value.rule if isinstance(value, Odd) else hint
    return value, f"{rule} is needed{told and '; '}{told}"


def _wrong(rule: object, value: object, hint: str = "") -> Wrong:
    return Wrong(_fault(rule, value, hint))


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number, both ends allowed; `unit` is said to the user."""

    low: int
    high: int
    unit: str

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high} {self.unit}"

    def read(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise _wrong(self, value, self._hint(value))
        return value

    def _hint(self, value: object) -> str:
        if value is None:
            return "or leave the key out for its default"
        text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else value
        found = re.match(r"\s*([0-9]{1,9})\s*([Gg]?)", text) if isinstance(text, str) else None
        if found is None:
            return ""
        meant = int(found[1]) * (1024 if found[2] and self.unit == "MiB" else 1)
        return f"the number alone: {meant}, without quotes or unit" if self.low <= meant <= self.high else ""


@dataclass(frozen=True, slots=True)
class Flag:
    """YAML's true and false, none of its other spellings."""

    def __str__(self) -> str:
        return "true or false"

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise _wrong(self, value)
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One word of several; `kind` makes the model's value of it."""

    words: tuple[str, ...]
    kind: Callable[[str], Any] = str

    @classmethod
    def of(cls, kind: type[StrEnum]) -> Choice:
        return cls(tuple(kind), kind)

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}" if len(self.words) > 1 else f"{self.words[0]} (there is no other)"

    def read(self, value: object) -> Any:
        if not isinstance(value, str) or value not in self.words:
            raise _wrong(self, value, _meant(value, self.words))
        return self.kind(value)


@dataclass(frozen=True, slots=True)
class Choices:
    """A list of different words."""

    words: tuple[str, ...]
    kind: Callable[[str], Any]
    into: Callable[[Iterable[Any]], Collection[Any]] = tuple

    def __str__(self) -> str:
        return f"a list of {', '.join(self.words)}"

    def read(self, value: object) -> Collection[Any]:
        if not isinstance(value, list):
            alone = isinstance(value, str) and value in self.words
            raise _wrong(self, value, f"a list of one: [{value}]" if alone else "")
        faults = []
        for index, item in enumerate(value):
            if not isinstance(item, str) or item not in self.words:
                faults.append(_fault(f"one of {', '.join(self.words)}", item, _meant(item, self.words)))
            elif item in value[:index]:
                faults.append((item, "is listed twice; once is enough"))
        if faults:
            raise Wrong(*faults)
        return self.into(self.kind(item) for item in value)


@dataclass(frozen=True, slots=True)
class Text:
    """A text of the form `pattern`, in words `form`."""

    pattern: re.Pattern[str]
    form: str
    hint: Callable[[str], str] = lambda text: ""

    def __str__(self) -> str:
        return self.form

    def read(self, value: object) -> str:
        if not isinstance(value, str) or self.pattern.fullmatch(value) is None:
            raise _wrong(self, value, self.hint(value) if isinstance(value, str) else "")
        return value


@dataclass(frozen=True, slots=True)
class Cidr:
    """A private IPv4 network of a size; `auto` (None): one that follows from the stack's name."""

    longest: int
    example: str
    shortest: int = 16

    def __str__(self) -> str:
        return (
            f"auto, or a private IPv4 network (RFC 1918) from /{self.shortest} to /{self.longest} "
            f"without host bits, like {self.example},"
        )

    def read(self, value: object) -> IPv4Network | None:
        if value == "auto":
            return None
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}", value):
            try:
                network = IPv4Network(value, strict=False)
            except ValueError:
                raise _wrong(self, value) from None
            length = min(max(network.prefixlen, self.shortest), self.longest)
            usable = IPv4Network((network.network_address, length), strict=False)
            if not any(usable.subnet_of(private) for private in PRIVATE):
                raise _wrong(self, value)
            if str(usable) != value:
                raise _wrong(self, value, f"nearest: {usable}")
            return usable
        raise _wrong(self, value)


def _meant(value: object, words: Iterable[str]) -> str:
    found = nearest(value, words) if isinstance(value, str) else ""
    return f"did you mean {found}?" if found else ""
