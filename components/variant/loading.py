"""Stack files on disk: where they are, and what to say where there is none that can be read."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from components.variant import document
from components.variant.keys import STACK_NAME, STACK_NAME_RULE
from components.variant.model import Stack
from components.variant.problems import Path as Keys
from components.variant.problems import Problem, StackError, nearest, shown
from components.variant.reading import CONFIG_KEY, read, refusal

#: The top level of Pulumi's own stack files.
_PULUMI = ("config", "secretsprovider", "encryptedkey", "encryptionsalt", "environment")
#: A stack file's name, given for the stack's.
_FILE = re.compile(rf"(?:.*/)?(?:Pulumi\.)?({STACK_NAME.pattern})\.ya?ml")


def stack_file(project: Path, name: str) -> Path:
    return project / "stacks" / f"Pulumi.{name}.yaml"


def load(project: Path, name: str) -> Stack:
    """Read and check `stacks/Pulumi.<name>.yaml`. Raises StackError, whatever the file is or is not."""
    if not STACK_NAME.fullmatch(name):
        of_file = _FILE.fullmatch(name)
        hint = f"; did you mean --stack {of_file[1]}?" if of_file else ""
        raise StackError("--stack", [Problem((), shown(name), STACK_NAME_RULE + hint)])
    path = stack_file(project, name)
    source = str(path.relative_to(project))
    found = document.read(_bytes(path, source, name))
    root = found.root if isinstance(found.root, Mapping) else {}
    config = root.get("config")
    if isinstance(config, Mapping) and CONFIG_KEY in config:
        extra = [_foreign(("config", key), found, (CONFIG_KEY,)) for key in config if _ours(key)]
        extra += [_foreign((str(key),), found, _PULUMI) for key in root if key not in _PULUMI]
        return read(name, config[CONFIG_KEY], source, found.lines, [*found.problems, *extra])
    if not found.problems:
        raise refusal(source, [_absent(found, config)])
    raise refusal(source, found.problems)


def _bytes(path: Path, source: str, name: str) -> bytes:
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
        raise StackError("--stack", [f"{name!r}: no file {source}; {_instead(path, name)}"]) from None
    except OSError as error:
        raise StackError(source, [f"cannot be read: {error.strerror}"]) from None


def _instead(path: Path, name: str) -> str:
    """What there is where a stack file is not: one of another name that must be meant, or those there are."""
    folder, project = path.parent, path.parent.parent
    for other in (folder / f"Pulumi.{name}.yml", folder / f"{name}.yaml", project / f"Pulumi.{name}.yaml"):
        if other.exists():
            return f"there is {other.relative_to(project)}: it must be called {path.relative_to(project)}"
    names = (one.name.removeprefix("Pulumi.").removesuffix(".yaml") for one in folder.glob("Pulumi.*.yaml"))
    known = sorted(filter(STACK_NAME.fullmatch, names))
    if not known:
        return f"there is none in {shown(str(folder), 200)}"
    meant = nearest(name, known)
    return f"{f'did you mean {meant}? ' if meant else ''}there are: {', '.join(known)}"


def _ours(key: object) -> bool:
    return isinstance(key, str) and key.startswith("halab:") and key != CONFIG_KEY


def _foreign(path: Keys, found: document.Document, known: tuple[str, ...]) -> Problem:
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
