"""What the environment sets for halab, each value with a rule; a line per mistake, as a stack file's are told."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from components.variant.problems import Problem, shown
from halab.embedded.hypervisor.paths import HypervisorError, Paths

#: What a path may have in it: it goes into URIs, sockets' names and the configuration of libvirt's and fencing daemons.
_PATH = re.compile(r"[A-Za-z0-9/._@+~,=:-]+")
_MIRROR = re.compile(r"(https?|file|copy)://?[A-Za-z0-9/._@+~,=:%\[\]-]+")


def problems(environ: Mapping[str, str]) -> list[str]:
    """Every mistake among the settings: variable, value, rule, what would be right. Empty values are none."""
    return [str(problem) for problem in _problems({key: value for key, value in environ.items() if value})]


def _problems(given: Mapping[str, str]) -> Iterator[Problem]:
    for name in ("HALAB_STATE", "HALAB_CACHE"):
        if name in given:
            rule = _folder(given[name]) or (_state(Path(given[name]).absolute()) if name == "HALAB_STATE" else "")
            if rule:
                yield Problem((name,), shown(given[name], 200), rule)
    project = given.get("HALAB_PROJECT")
    if project and not (Path(project) / "stacks").is_dir():
        rule = "the folder of a checkout is needed, with stacks/ in it; leave it out for the one ./halab is in"
        yield Problem(("HALAB_PROJECT",), shown(project, 200), rule)
    mirror = given.get("HALAB_MIRROR")
    if mirror and _MIRROR.fullmatch(mirror) is None:
        rule = "the address of a Debian mirror is needed: http://…, file:/…"
        yield Problem(("HALAB_MIRROR",), shown(mirror, 200), rule)
    named = given.get("PULUMI_CONFIG_PASSPHRASE_FILE")
    if named and "PULUMI_CONFIG_PASSPHRASE" not in given and (rule := _passphrase(Path(named))):
        yield Problem(("PULUMI_CONFIG_PASSPHRASE_FILE",), shown(named, 200), rule)


def _folder(value: str) -> str:
    if _PATH.fullmatch(value) is None:
        return "a path of letters, digits and / . _ - + @ ~ , = : is needed"
    path = Path(value).absolute()
    there = next(one for one in (path, *path.parents) if os.path.lexists(one))
    if not there.is_dir():
        return f"a folder is needed; {there} is none" if there != path else "a folder is needed; this is none"
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        return f"a folder that this user may write in is needed; {there} is not"
    return ""


def _state(path: Path) -> str:
    """Whether there is a stack name short enough for it."""
    try:
        Paths.of("a", path)
    except HypervisorError as error:
        return str(error)
    return ""


def _passphrase(path: Path) -> str:
    """Without reading it: a pipe can be read once."""
    try:
        empty = path.is_file() and path.stat().st_size == 0
        if path.is_dir() or not path.exists() or not os.access(path, os.R_OK, effective_ids=True):
            return "a file that exists and can be read is needed"
    except OSError as error:
        return f"a file that can be read is needed: {error.strerror}"
    return "a file with a passphrase in it is needed; this one is empty" if empty else ""
