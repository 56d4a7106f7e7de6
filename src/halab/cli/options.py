"""Options that several commands share, and the checkout they work on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from halab.workspace import Workspace

DEFAULT_STACK = "collapsed"
Stack = Annotated[
    str,
    typer.Option("--stack", "-s", metavar="NAME", envvar="HALAB_STACK", help="The stack: stacks/Pulumi.NAME.yaml."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, for programs.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Every line that a step writes, as it comes.")]


def _writable(context: typer.Context, parameter: typer.CallbackParam, value: Path | None) -> Path | None:
    """Raises RefusedError for what no file can be written to, before the work whose result it is for."""
    if value is None:
        return None
    from components.variant.problems import shown
    from halab.errors import RefusedError

    folder = value.absolute().parent
    rule = ""
    if value.is_dir():
        rule = "a file is needed; this is a folder"
    elif not folder.is_dir():
        rule = f"a file in a folder that exists is needed; {shown(str(folder), 200)} does not"
    elif not os.access(value if value.exists() else folder, os.W_OK, effective_ids=True):
        rule = "a file that this user may write is needed"
    if rule:
        raise RefusedError(f"--{parameter.name}: {shown(str(value), 200)}: {rule}")
    return value


def output(teaches: str) -> Any:
    """An option that names a file to write, checked before anything is done."""
    return typer.Option(metavar="FILE", help=teaches, callback=_writable)


def project() -> Path:
    """The checkout: the folder of Pulumi.yaml that this file belongs to, or $HALAB_PROJECT."""
    chosen = os.environ.get("HALAB_PROJECT")
    return Path(chosen).absolute() if chosen else Path(__file__).resolve().parents[3]


def workspace(stack: str) -> Workspace:
    """Raises StackError for a stack that cannot be used, RefusedError for a folder of state that it cannot be in.

    To be called before an action is imported: bad input is answered without loading what only running needs.
    """
    from halab.workspace import Workspace

    with _placed():
        found = Workspace.load(project(), stack)
        found.paths  # noqa: B018
        return found


@contextmanager
def _placed() -> Iterator[None]:
    """A stack's files have no place below a folder too deep for sockets: bad input, and nothing that failed."""
    from halab.embedded.hypervisor.paths import HypervisorError
    from halab.errors import RefusedError

    try:
        yield
    except HypervisorError as error:
        raise RefusedError(str(error)) from None


def standing(stack: str) -> Workspace:
    """The stack as it was last brought up, whatever became of its file. Raises StackError for one that is unknown."""
    from halab.workspace import Workspace

    with _placed():
        return Workspace.standing(project(), stack)


def prose(text: str) -> str:
    """Help text whose paragraphs, separated by empty lines, are wrapped by the terminal and not by this file."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
