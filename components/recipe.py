"""Recipes: how one thing is done on a node, in shell; Python only adds quoted values and whole files to it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_LIB = Path(__file__).parent / "lib.sh"


@cache
def _text(path: Path) -> str:
    return path.read_text()


@dataclass(frozen=True, slots=True)
class File:
    """A file to be on the node before the action runs. `@{NAME}` in `content` becomes the node's secret NAME there."""

    path: str
    content: str
    owner: str = "root"
    group: str = "root"
    mode: int = 0o644

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError(f"{self.path}: an absolute path is needed")


def _put(file: File) -> str:
    body = file.content if file.content.endswith("\n") else file.content + "\n"
    return "put_file " + shlex.join([file.path, file.owner, file.group, f"{file.mode:04o}", body]) + "\n"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One `.sh` file. Its functions are the actions; `<action>_down`, where there is one, undoes an action."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    def actions(self) -> frozenset[str]:
        """The names of the functions that the file defines at its top level."""
        return frozenset(
            line.partition("(")[0] for line in _text(self.path).splitlines() if line[:1].isalpha() and "() {" in line
        )

    def script(self, step: str, env: Mapping[str, str], files: Iterable[File]) -> str:
        """What `bash -s ACTION` reads on stdin: values, library, recipe, files, and the call of the action."""
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in sorted(env.items()))
        puts = "".join(_put(file) for file in files)
        return (
            "set -euo pipefail\n"
            f"export HALAB_STEP={shlex.quote(step)}\n{exports}{_text(_LIB)}\n{_text(self.path)}\n"
            f'put_files() {{\n:\n{puts}}}\nrun_action "$@"\n'
        )
