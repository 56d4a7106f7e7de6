"""From a stack file to a Stack, or to every mistake in it at once."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from components.variant import document, model
from components.variant.checks import CHECKS
from components.variant.keys import SECTIONS, STACK_NAME, STACK_NAME_RULE, TOP, Key, role_keys
from components.variant.problems import Path, Problem, StackError, is_secret, meets, nearest, shown
from components.variant.values import Wrong

CONFIG_KEY = "halab:stack"
#: The top level of Pulumi's own stack files.
_PULUMI = ("config", "secretsprovider", "encryptedkey", "encryptionsalt", "environment")
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


def _read(
    name: str, raw: object, source: str, lines: Mapping[Path, int] | None = None, before: Sequence[Problem] = ()
) -> model.Stack:
    """`before`: what is wrong with the text itself. Raises StackError with all problems, in the order of lines."""
    earlier = [replace(one, path=one.path if one.path == _HERE else _below(one.path)) for one in before]
    reading = _Reading(lines or {}, (_below(problem.path) for problem in before))
    stack = _stack(name, raw, reading)
    _cross_check(stack, reading)
    if problems := [*earlier, *reading.problems]:
        raise _error(source, problems)
    return stack


def _below(path: Path) -> Path:
    """A path of the file as the keys' problems have it."""
    return path[len(_HERE) :] if path[: len(_HERE)] == _HERE else path


def _error(source: str, problems: Iterable[Problem]) -> StackError:
    told = sorted(problems, key=lambda problem: problem.line)
    more = [f"and {len(told) - _MOST} more"] if len(told) > _MOST else []
    return StackError(source, [*told[:_MOST], *more])


def parse(name: str, raw: object, source: str = "stack") -> model.Stack:
    """The stack `name` from the mapping under `halab:stack`. Raises StackError with every problem found."""
    return _read(name, raw, source)


def stack_file(project: FilePath, name: str) -> FilePath:
    return project / "stacks" / f"Pulumi.{name}.yaml"


def load(project: FilePath, name: str) -> model.Stack:
    """Read and check `stacks/Pulumi.<name>.yaml`. Raises StackError, whatever the file is or is not."""
    if not STACK_NAME.fullmatch(name):
        raise StackError("--stack", [Problem((), shown(name), STACK_NAME_RULE)])
    path = stack_file(project, name)
    source = str(path.relative_to(project))
    found = document.read(_bytes(path, source, name))
    root = found.root if isinstance(found.root, Mapping) else {}
    config = root.get("config")
    if isinstance(config, Mapping) and CONFIG_KEY in config:
        extra = [_foreign(("config", key), found, (CONFIG_KEY,)) for key in config if _ours(key)]
        extra += [_foreign((str(key),), found, _PULUMI) for key in root if key not in _PULUMI]
        return _read(name, config[CONFIG_KEY], source, found.lines, [*found.problems, *extra])
    if not found.problems:
        raise _error(source, [_absent(found, config)])
    raise _error(source, found.problems)


def _bytes(path: FilePath, source: str, name: str) -> bytes:
    """The file's content. Raises StackError for what is no readable file of a sensible size."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise StackError(source, ["is no file but a folder or a device: a stack file is needed there"])
        if status.st_size > document.LIMIT:
            rule = f"a stack file has at most {document.LIMIT}"
            raise StackError(source, [f"{status.st_size} bytes: {rule}; stacks/Pulumi.collapsed.yaml has a thousand"])
        return path.read_bytes()
    except FileNotFoundError:
        names = (one.name.removeprefix("Pulumi.").removesuffix(".yaml") for one in path.parent.glob("Pulumi.*.yaml"))
        known = sorted(filter(STACK_NAME.fullmatch, names))
        meant = nearest(name, known)
        hint = f"did you mean {meant}? " if meant else ""
        there = f"{hint}there are: {', '.join(known)}" if known else f"there is none in {shown(str(path.parent))}"
        raise StackError("--stack", [f"{name!r}: no file {source}; {there}"]) from None
    except OSError as error:
        raise StackError(source, [f"cannot be read: {error.strerror}"]) from None


def _ours(key: object) -> bool:
    return isinstance(key, str) and key.startswith("halab:") and key != CONFIG_KEY


def _foreign(path: Path, found: document.Document, known: tuple[str, ...]) -> Problem:
    meant = nearest(path[-1], known)
    rule = f"unknown key; {f'did you mean {meant}? ' if meant else ''}known here: {', '.join(known)}"
    return Problem(path, "", rule, found.lines.get(path, 0))


def _absent(found: document.Document, config: object) -> Problem:
    """What to say where no stack is described."""
    rule = f"the key '{CONFIG_KEY}' with the stack's description is needed, as in stacks/Pulumi.collapsed.yaml"
    if not isinstance(found.root, Mapping):
        return Problem((), shown(found.root), f"a mapping with the key config is needed; in it, {rule}")
    if "config" not in found.root:
        meant = nearest("config", (str(key) for key in found.root))
        hint = f"; did you mean config by {shown(meant)}?" if meant else ""
        return Problem(("config",), "nothing", f"{rule}{hint}", found.lines.get((meant,), 0))
    if not isinstance(config, Mapping):
        return Problem(("config",), shown(config), rule, found.lines.get(("config",), 0))
    near = nearest(CONFIG_KEY, (str(key) for key in config))
    line = found.lines.get(("config", near), found.lines[("config",)])
    return Problem(("config",), shown(near) if near else "", rule, line)
