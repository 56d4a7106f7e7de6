"""From the tree of a stack file to a Stack, or to every mistake in it at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from components.variant import model
from components.variant.checks import CHECKS
from components.variant.keys import SECTIONS, STACK_NAME, STACK_NAME_RULE, TOP, Key, role_keys
from components.variant.problems import Path, Problem, StackError, is_secret, meets, nearest, shown
from components.variant.values import Wrong

CONFIG_KEY = "halab:stack"
#: Lines of one answer: after these, mending comes first.
_MOST = 40
_HERE: Path = ("config", CONFIG_KEY)


class _Reading:
    """Takes keys out of mappings and notes what breaks a rule; a default stands in so that reading goes on."""

    def __init__(self, lines: Mapping[Path, int], wrong: Iterable[Path] = ()) -> None:
        self._lines = lines
        self.problems: list[Problem] = []
        self.wrong: set[Path] = set(wrong)

    def problem(self, path: Path, value: object, rule: str) -> None:
        self.problems.append(Problem(path, shown(value), rule, self._line(path)))

    def _line(self, path: Path) -> int:
        """Where the key is, or the nearest one above it."""
        above = (*_HERE, *path)
        return next((self._lines[above[:n]] for n in range(len(above), 0, -1) if above[:n] in self._lines), 0)

    def mapping(self, path: Path, raw: object, known: Iterable[str]) -> dict[str, object]:
        """The known keys of a mapping; what else is there is a problem, and so is what is no mapping."""
        if raw is None:
            return {}
        if not isinstance(raw, Mapping):
            self._note(path or _HERE, raw, f"a mapping of {', '.join(known)} is needed")
            self.wrong.add(path)
            return {}
        allowed = tuple(known)
        for key in raw:
            if key not in allowed:
                self._unknown((*path, str(key)), raw[key], allowed)
        return {str(key): value for key, value in raw.items() if key in allowed}

    def values(self, path: Path, raw: Mapping[str, object], keys: Iterable[Key]) -> dict[str, Any]:
        """Every key's value, read by its rule, or its default."""
        found: dict[str, Any] = {}
        for key in keys:
            here = (*path, key.name)
            found[key.name] = key.default
            if key.name not in raw:
                if key.required and not any(meets(here, wrong) for wrong in self.wrong):
                    self._note(here, None, f"{key.rule} is needed")
                continue
            try:
                found[key.name] = key.rule.read(raw[key.name])
            except Wrong as wrong:
                for value, rule in wrong.faults:
                    self._note(here, value, rule)
        return found

    def _note(self, path: Path, value: object, rule: str) -> None:
        self.wrong.add(path)
        self.problem(path, value, rule)

    def _unknown(self, path: Path, value: object, known: tuple[str, ...]) -> None:
        name, above = path[-1], path[:-1]
        meant = nearest(name, known)
        self.wrong |= {path, (*above, meant)} if meant else {path}
        hint = f"did you mean {meant}? " if meant else _elsewhere(name, above)
        if (is_secret(name) and not hint) or (isinstance(value, Mapping) and "secure" in value):
            rule = "unknown key; no password or key goes into a stack file: halab makes a stack's secrets itself"
            self.problems.append(Problem(path, "***", rule, self._line(path)))
        else:
            self.problem(path, value, f"unknown key; {hint}known here: {', '.join(known)}")


def _elsewhere(name: str, above: Path) -> str:
    """Where a key of that name is known."""
    places = {f"{section}.{key.name}" for section, keys in SECTIONS.items() for key in keys}
    places |= {key.name for key in TOP} | set(SECTIONS)
    places |= {f"roles.ROLE.{key.name}" for key in role_keys(model.Role.CONTROLLER)}
    places |= {f"roles.{role}" for role in model.Role}
    found = sorted(place for place in places if place.rpartition(".")[2] == name and place != ".".join((*above, name)))
    return f"there is {' and '.join(found)}; " if found else ""


def _stack(name: str, raw: object, reading: _Reading) -> model.Stack:
    if not STACK_NAME.fullmatch(name):
        reading.problems.append(Problem(("stack",), shown(name), STACK_NAME_RULE))
    top_keys = (*(key.name for key in TOP), "roles", *SECTIONS)
    top = reading.mapping((), raw, top_keys)
    roles = reading.mapping(("roles",), top.get("roles"), tuple(model.Role))
    specs = []
    for role in model.Role:
        if role in roles:
            path, keys = ("roles", str(role)), role_keys(role)
            given = reading.mapping(path, roles[role], tuple(key.name for key in keys))
            specs.append(model.RoleSpec(role=role, **reading.values(path, given, keys)))
    sections = {
        section: reading.values(
            (section,), reading.mapping((section,), top.get(section), tuple(key.name for key in keys)), keys
        )
        for section, keys in SECTIONS.items()
    }
    own = reading.values((), top, TOP)
    own["variant"] = own["variant"] or model.Variant.COLLAPSED
    own["fork_of"] = own.pop("cloud")
    return model.Stack(
        name=name,
        roles=tuple(specs),
        networks=model.Networks(**sections["networks"]),
        cluster=model.ClusterOptions(**sections["cluster"]),
        vips=model.Vips(**sections["vips"]),
        timers=model.Timers(**sections["timers"]),
        hypervisor=model.Hypervisor(**sections["hypervisor"]),
        **own,
    )


def _cross_check(stack: model.Stack, reading: _Reading) -> None:
    if () in reading.wrong:
        return
    for check in CHECKS:
        for finding in check(stack):
            rests = [tuple(key.split(".")) for key in (finding.key, *finding.needs)]
            if not any(meets(one, wrong) for one in rests for wrong in reading.wrong):
                reading.problem(tuple(finding.key.split(".")), finding.value, finding.rule)


def read(
    name: str, raw: object, source: str, lines: Mapping[Path, int] | None = None, before: Sequence[Problem] = ()
) -> model.Stack:
    """`before`: what is wrong with the text itself. Raises StackError with all problems, in the order of lines."""
    earlier = [replace(one, path=one.path if one.path == _HERE else _below(one.path)) for one in before]
    reading = _Reading(lines or {}, (_below(problem.path) for problem in before))
    stack = _stack(name, raw, reading)
    _cross_check(stack, reading)
    if problems := [*earlier, *reading.problems]:
        raise refusal(source, problems)
    return stack


def _below(path: Path) -> Path:
    """A path of the file as the keys' problems have it."""
    return path[len(_HERE) :] if path[: len(_HERE)] == _HERE else path


def refusal(source: str, problems: Iterable[Problem]) -> StackError:
    told = sorted(problems, key=lambda problem: problem.line)
    more = [f"and {len(told) - _MOST} more"] if len(told) > _MOST else []
    return StackError(source, [*told[:_MOST], *more])


def parse(name: str, raw: object, source: str = "stack") -> model.Stack:
    """The stack `name` from the mapping under `halab:stack`. Raises StackError with every problem found."""
    return read(name, raw, source)
