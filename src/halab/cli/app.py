"""All commands under one name, and how their errors become exit codes."""

from __future__ import annotations

import errno
import os
import sys

import typer

from components.variant import StackError
from halab import settings
from halab.cli import (
    bench,
    compare,
    console,
    doctor,
    down,
    fault,
    fence_daemon,
    fork,
    graph,
    image,
    logs,
    new,
    preview,
    prune,
    recover,
    replace,
    snapshot,
    ssh,
    status,
    test,
    up,
    verify,
)
from halab.cli import list as list_
from halab.errors import DONE, FAILED, REFUSED, HalabError

app = typer.Typer(
    name="halab",
    help="Highly available OpenStack test clouds as libvirt VMs, one stack per architecture.\n\n"
    "First time here: [bold]./halab up[/bold] builds the default stack, collapsed, and verifies it; "
    "[bold]./halab down[/bold] leaves nothing of it.",
    epilog="Exit codes: 0 done, 1 failed, 2 bad input or a missing requirement.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    up,
    down,
    recover,
    replace,
    fork,
    new,
    list_,
    prune,
    preview,
    status,
    verify,
    compare,
    ssh,
    console,
    logs,
    doctor,
    graph,
    bench,
    test,
):
    module.register(app)
app.add_typer(snapshot.app, name="snapshot")
app.add_typer(fault.app, name="fault")
app.add_typer(image.app, name="image")
app.add_typer(fence_daemon.app, name="fence-daemon", hidden=True)


#: What typer makes of a KeyboardInterrupt.
_INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _say(text: str) -> None:
    """Each line after halab's name; what a terminal would obey is spelt out."""
    for line in text.splitlines() or [""]:
        plain = "".join(one if one.isprintable() else repr(one)[1:-1] for one in line.expandtabs(4))
        print(f"halab: {plain}", file=sys.stderr)


def _usage(error: typer.TyperException) -> str:
    """What is wrong with a command line, and where it is taught."""
    told = error.format_message().replace("Value error, ", "").rstrip(".")
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "halab"
    return f"{' '.join(told.split())}; ./{path} --help"


def run(arguments: list[str]) -> int:
    """One command line; its exit code. Only mistakes in halab itself leave as a traceback."""
    if not {"--help", "-h"} & {*arguments} and (wrong := settings.problems(os.environ)):
        _say("\n".join(wrong))
        return REFUSED
    try:
        code = app(arguments, prog_name="halab", standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        return code if isinstance(code, int) else DONE
    except typer.TyperException as error:
        # A group without a command shows its help.
        error.show() if type(error).__name__ == "NoArgsIsHelpError" else _say(_usage(error))  # type: ignore[attr-defined]
        return REFUSED
    except (typer.Abort, KeyboardInterrupt):
        _say("interrupted: run it again to go on, or ./halab down")
        return FAILED
    except StackError as error:
        _say(str(error))
        return REFUSED
    except HalabError as error:
        _say(str(error))
        return error.code
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _say(f"{error.filename or 'a file'}: {error.strerror}: make room (df -h), then run it again")
        return FAILED
    except Exception as error:
        if not _expected(error):
            raise
        _say(str(error))
        return REFUSED if type(error).__name__ in ("LockedError", "PassphraseError") else FAILED


def _expected(error: Exception) -> bool:
    """Errors of halab's own packages are written for the user; their modules are loaded if one was raised."""
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    return bool(
        names
        & {
            "halab.embedded.engine.errors.EngineError",
            "halab.embedded.hypervisor.paths.HypervisorError",
            "halab.embedded.provider.ProviderError",
            "halab.host.install.InstallError",
            "halab.host.pulumi_cli.PulumiCliError",
        }
    )
