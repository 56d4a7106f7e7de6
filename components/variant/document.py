"""A stack file's bytes as plain values with the line of each key, and whatever trouble YAML itself can make.

YAML 1.1 (PyYAML) and 1.2 (the Pulumi CLI's parser) read some plain words differently, and the same file is read by
both: such words are refused, as are anchors, tags and doubled keys.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from components.variant.problems import Odd, Path, Problem, shown

#: Bytes; the stack files that come with halab have less than one thousand.
LIMIT = 32_768
_DEPTH = 10
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{0,18}")
#: Numbers to one of YAML's versions or to people.
_NUMBER = re.compile(
    r"[-+]?(0[0-9_]+|0[xob][0-9a-f_]+|[0-9][0-9_]*(\.[0-9_]*)?(e[-+]?[0-9]+)?)|\.[0-9_]+", re.IGNORECASE
)
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL = ("", "~", "null", "Null", "NULL")
_RESOLVER: Any = yaml.resolver.Resolver()


@dataclass
class Document:
    """`root`: mappings, lists, str, int, float, bool, None and Odd. `problems`: in the order of their lines."""

    root: object = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


@dataclass
class _Open:
    """A mapping or list that has begun.

    `key`: the one whose value comes next, None where a key comes; `lines`: where its keys were first.
    """

    into: dict[str, object] | list[object]
    path: Path
    key: str | None = None
    lines: dict[str, int] = field(default_factory=dict)

    @property
    def here(self) -> Path:
        return self.path if self.key is None else (*self.path, self.key)


def read(data: bytes) -> Document:
    """Never raises for what a file can hold."""
    found = Document()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x}"
        return Document(problems=[Problem((), byte, "is not UTF-8: save the file as UTF-8", line)])
    try:
        _Builder(found).build(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        assert mark is not None, "the parser marks what it stops at"
        found.problems.append(Problem((), f"column {mark.column + 1}", f"not YAML: {_reason(error)}", mark.line + 1))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = f"character 0x{ord(text[error.position]):04x}"
        found.problems.append(Problem((), character, "not YAML: it does not allow this one", line))
    return found


def _reason(error: yaml.MarkedYAMLError) -> str:
    if error.problem and "'\\t'" in error.problem:
        return "a tab: indent with spaces"
    told = "; ".join(part for part in (error.context, error.problem) if part)
    return "".join(one if one.isprintable() else " " for one in told)


class _Builder:
    """Builds without recursion, so that no depth of brackets is too much for it."""

    def __init__(self, found: Document) -> None:
        self._found = found
        self._open: list[_Open] = []

    def build(self, text: str) -> None:
        documents = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._problem((), "---", "a second document: a stack file is one", line)
                    return
            elif isinstance(event, yaml.NodeEvent):
                self._refuse_extras(event, line)
                if not self._node(event, line):
                    return
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                self._open.pop()

    def _node(self, event: yaml.NodeEvent, line: int) -> bool:
        """False where going on makes no sense."""
        parent = self._open[-1] if self._open else None
        if parent is not None and isinstance(parent.into, dict) and parent.key is None:
            return self._key(parent, event, line)
        if isinstance(event, yaml.ScalarEvent):
            self._put(_scalar(event))
        elif isinstance(event, yaml.AliasEvent):
            self._put(Odd(f"*{event.anchor}", "write the value itself: a stack file has no anchors"))
        else:
            path = parent.here if parent else ()
            if len(self._open) >= _DEPTH:
                self._problem(path, "", f"nested more than {_DEPTH} deep, which no key of a stack file is", line)
                return False
            made: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._put(made)
            self._open.append(_Open(made, path))
        return True

    def _key(self, parent: _Open, event: yaml.NodeEvent, line: int) -> bool:
        if not isinstance(event, yaml.ScalarEvent):
            self._problem(parent.path, "", "a key is a word; here it is a mapping, a list or an alias", line)
            return False
        parent.key = event.value
        here = parent.here
        if event.value == "<<" and event.style is None:
            self._problem(here, "", "write the keys themselves: a stack file has no merge keys", line)
        elif event.value in parent.lines:
            self._problem(here, "", f"is there twice, first in line {parent.lines[event.value]}: leave one", line)
        parent.lines.setdefault(event.value, line)
        self._found.lines.setdefault(here, line)
        return True

    def _put(self, value: object) -> None:
        if not self._open:
            self._found.root = value
            return
        parent = self._open[-1]
        if isinstance(parent.into, list):
            parent.into.append(value)
            return
        key, parent.key = parent.key or "", None
        if key not in parent.into and key != "<<":
            parent.into[key] = value

    def _refuse_extras(self, event: yaml.NodeEvent, line: int) -> None:
        here = self._open[-1].here if self._open else ()
        if event.anchor is not None and not isinstance(event, yaml.AliasEvent):
            self._problem(here, shown(f"&{event.anchor}"), "leave the anchor out: nothing may refer to it", line)
        if tag := getattr(event, "tag", None):
            self._problem(here, shown(tag), "leave the tag out: every key knows its type", line)

    def _problem(self, path: Path, value: str, rule: str, line: int) -> None:
        self._found.problems.append(Problem(path, value, rule, line))


def _scalar(event: yaml.ScalarEvent) -> object:
    text: str = event.value
    if event.style is not None:
        return text
    if text in _NULL:
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    tag = str(_RESOLVER.resolve(yaml.ScalarNode, text, (True, False))).rpartition(":")[2]
    if tag == "bool":
        return Odd(text, "write true or false: to some readers of YAML this is a word")
    if tag in ("int", "float") or _NUMBER.fullmatch(text):
        return Odd(text, "write a number in decimal digits alone, not starting with 0: readers of YAML differ on this")
    if tag != "str":
        return Odd(text, "write it in quotes: to some readers of YAML this is no word")
    return text
