"""halab snapshot"""

from __future__ import annotations

from typing import Annotated

import typer

from halab.cli import options

app = typer.Typer(
    help=options.prose(
        """Save a cloud as it is, RAM and disks and the engine's state, and bring it back in seconds.

All VMs are suspended together, so a saved cloud is one moment of it: clusters, databases and queues go on from there.
A verified [bold]./halab up[/bold] leaves one by itself, the golden cloud, from which the next up of the same comes
back."""
    ),
    epilog="""Examples:

./halab snapshot save before                 the default stack; then break it

./halab snapshot restore before              as it was; works after ./halab down too

./halab snapshot restore golden              as the last verified up left it

./halab snapshot list

More: docs/snapshots.md""",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The snapshot's name; golden ones are golden-<key>.")]


@app.command("save")
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it: a-z, 0-9, '.', '_', '-'.")],
    stack: options.Stack = options.DEFAULT_STACK,
    as_it_is: Annotated[
        bool, typer.Option("--as-it-is", help="Without asking whether it is well: to come back to a fault.")
    ] = False,
    as_json: options.Json = False,
) -> int:
    """Save the cloud of a stack; it goes on running."""
    found = options.workspace(stack)
    from halab.actions import snapshot

    return snapshot.save(found, name, as_it_is=as_it_is, as_json=as_json)


@app.command("restore")
def restore(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A snapshot's name, or golden: what ./halab up would bring back.")
    ],
    stack: options.Stack = options.DEFAULT_STACK,
    overcommit: Annotated[
        bool, typer.Option("--overcommit", help="Also where memory or disk of all stacks together are short.")
    ] = False,
    as_json: options.Json = False,
) -> int:
    """Bring a cloud back. What runs of the stack is lost; a damaged snapshot is refused before that."""
    found = options.workspace(stack)
    from halab.actions import snapshot

    return snapshot.restore(found, name, overcommit=overcommit, as_json=as_json)


@app.command("list")
def listing(as_json: options.Json = False) -> int:
    """All snapshots of this host and what they take."""
    from halab.actions import snapshot
    from halab.embedded.hypervisor.paths import state_folder

    return snapshot.listing(state_folder(), as_json=as_json)


@app.command("show")
def show(name: Name, stack: options.Stack = options.DEFAULT_STACK, as_json: options.Json = False) -> int:
    """What is in a snapshot; every file is compared with its checksum."""
    found = options.workspace(stack)
    from halab.actions import snapshot

    return snapshot.show(found, name, as_json=as_json)


@app.command("rm")
def remove(name: Name, stack: options.Stack = options.DEFAULT_STACK) -> int:
    """Remove a snapshot. A cloud that was brought back from it runs on."""
    found = options.workspace(stack)
    from halab.actions import snapshot

    return snapshot.remove(found, name)


@app.command("prune")
def prune(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Unused for so long: 90m, 12h, 7d, 2w.")] = "7d",
    named: Annotated[bool, typer.Option("--named", help="Named snapshots too, not only golden clouds.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove what is shown.")] = False,
) -> int:
    """Show golden clouds nobody needed lately, and what dead saves left; with --yes, remove them."""
    from halab.actions import snapshot
    from halab.embedded.hypervisor.paths import state_folder

    return snapshot.prune(state_folder(), older_than, yes=yes, named=named)
