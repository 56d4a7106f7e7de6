"""The images a stack's VMs boot."""

from __future__ import annotations

import json

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from halab import image as images
from halab.display import text
from halab.display.model import table
from halab.errors import DONE, HalabError, RefusedError
from halab.image import cache
from halab.workspace import Workspace


def needed(workspace: Workspace) -> tuple[str, ...]:
    return tuple(sorted({node.image for node in workspace.topology.nodes}))


def ensure(workspace: Workspace, console: Console) -> None:
    """Build those of the stack's images that are missing."""
    missing = [name for name in needed(workspace) if images.Image.cached(name) is None]
    for name in missing:
        folder = cache.image_directory(name)
        if folder.exists():
            console.print(f"image {name} is damaged: {cache.damage(folder)}")
    if missing:
        console.print(f"building {text.counted(len(missing), 'image')}, once for this host: {', '.join(missing)}")
        _build(missing, console, fresh=False)


def build(workspace: Workspace, names: tuple[str, ...], *, rebuild: bool) -> int:
    known = images.NAMES
    for name in names:
        if name not in known:
            raise RefusedError(f"NAME: {name!r}: there are {', '.join(known)}")
    built = _build(names or needed(workspace), text.console(), fresh=rebuild)
    for name, path in built.items():
        print(f"{name}: {path}")
    return DONE


def _build(names: tuple[str, ...] | list[str], console: Console, *, fresh: bool) -> dict[str, str]:
    try:
        with _Bars(names, console) as bars:
            built = images.build(names, bars.show, fresh=fresh)
    except images.ImageBuildError as error:
        raise HalabError(str(error)) from None
    return {name: str(one.qcow2.parent) for name, one in built.items()}


def show(workspace: Workspace, *, as_json: bool) -> int:
    rows = []
    for name in needed(workspace):
        found = images.Image.cached(name)
        rows.append(
            {
                "image": name,
                "key": images.image_key(name)[:12],
                "built": found is not None,
                "bytes": found.qcow2.stat().st_blocks * 512 if found else 0,
                "path": str(cache.image_directory(name)),
            }
        )
    if as_json:
        print(json.dumps(rows, indent=1))
        return DONE
    made = table("image", "key", "built", "MiB", "path", right=("MiB",))
    for row in rows:
        size = f"{row['bytes'] // 1_048_576}" if row["built"] else ""  # type: ignore[operator]
        made.add_row(str(row["image"]), str(row["key"]), "yes" if row["built"] else "no", size, str(row["path"]))
    text.console().print(made)
    return DONE


class _Bars:
    """A bar per image on a terminal; elsewhere a line whenever the words change."""

    def __init__(self, names: tuple[str, ...] | list[str], console: Console) -> None:
        self._console = console
        self._said: dict[str, str] = {}
        self._bars = Progress(
            TextColumn("{task.fields[image]:<12}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[words]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {
            name: self._bars.add_task(name, total=1.0, image=name, words="waiting") for name in names
        }

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, progress: images.Progress) -> None:
        if self._console.is_terminal:
            self._bars.update(self._tasks[progress.image], completed=progress.done, words=progress.text)
            return
        words = progress.text.split(":")[0].split(" ")[0]
        if self._said.get(progress.image) != words:
            self._said[progress.image] = words
            self._console.print(f"image {progress.image}: {progress.done:.0%} {progress.text}")
