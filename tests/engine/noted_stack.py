"""The real program of a stack in the embedded engine, with providers that only take notes: no VM, no node."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from components.topology import Topology, derive
from components.variant import load
from halab.embedded.engine import Engine, paths
from halab.embedded.provider import Call, Created, Diff, Props
from halab.image import cache, spec
from halab.workspace import Workspace

ROOT = Path(__file__).parents[2]


class Notes:
    """A provider of anything: what it is given is what it has. `done`: (operation, resource) in order."""

    version = "0"

    def __init__(self, package: str, done: list[tuple[str, str]]) -> None:
        self.package, self.done, self._lock = package, done, threading.Lock()

    def _note(self, what: str, call: Call) -> None:
        with self._lock:
            self.done.append((what, call.urn.rpartition("::")[2]))

    def check_config(self, inputs: Props) -> Props:
        return inputs

    def configure(self, inputs: Props) -> None: ...

    def check(self, type_: str, name: str, old: Props | None, new: Props) -> Props:
        return new

    def diff(self, type_: str, id_: str, old_inputs: Props, old_outputs: Props, new_inputs: Props) -> Diff:
        return Diff({paths.render(path): kind for path, kind in paths.compare(old_inputs, new_inputs)})

    def create(self, type_: str, call: Call, inputs: Props, *, preview: bool) -> Created:
        if preview:
            return Created("", inputs)
        self._note("create", call)
        return Created(uuid.uuid4().hex, inputs)

    def read(self, type_: str, call: Call, id_: str, inputs: Props, outputs: Props) -> Props | None:
        return outputs

    def update(
        self, type_: str, call: Call, id_: str, old_inputs: Props, old_outputs: Props, inputs: Props, *, preview: bool
    ) -> Props:
        if not preview:
            self._note("update", call)
        return inputs

    def delete(self, type_: str, call: Call, id_: str, inputs: Props, outputs: Props) -> None:
        self._note("delete", call)

    def close(self) -> None: ...


class Stack:
    """In a checkout of its own, whose stack file can be edited."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.done = folder, name, list[tuple[str, str]]()
        self.project = folder / "project"
        (self.project / "stacks").mkdir(parents=True)
        for part in ("Pulumi.yaml", "__main__.py", "components", "src", "images"):
            (self.project / part).symlink_to(ROOT / part)
        self.file.write_text((ROOT / "stacks" / self.file.name).read_text())
        for name in {node.image for node in self.topology.nodes}:
            image = folder / "cache" / "images" / f"{name}-{spec.image_key(name)[:12]}"
            image.mkdir(parents=True)
            for file in cache.FILES:
                (image / file).write_text(f"{name} {file}")
            cache.write_manifest(image, name, spec.image_key(name), {})

    @property
    def file(self) -> Path:
        return self.project / "stacks" / f"Pulumi.{self.name}.yaml"

    @property
    def topology(self) -> Topology:
        return derive(load(self.project, self.name))

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.project, self.topology, self.folder / "state")

    def edit(self, path: Sequence[str], value: Any) -> None:
        """A key of the stack's description."""
        document = yaml.safe_load(self.file.read_text())
        place = document["config"]["halab:stack"]
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
        self.file.write_text(yaml.safe_dump(document))

    def engine(self) -> Engine:
        environment = {
            "HALAB_STATE": str(self.folder / "state"),
            "HALAB_CACHE": str(self.folder / "cache"),
            "HALAB_LIBVIRT_URI": "qemu:///system",
            "HALAB_DOMAIN_TYPE": "qemu",
        }
        factories = {name: (lambda name=name: Notes(name, self.done)) for name in ("libvirt", "command")}
        return Engine(
            self.project,
            self.name,
            self.folder / "pulumi",
            "correct horse",
            factories,
            env=environment,
        )
