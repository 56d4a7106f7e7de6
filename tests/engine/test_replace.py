"""One node replaced: the real program of the default stack in the embedded engine, with providers that only take notes.

What is done to whom, and in which order: the cluster is told before the VM goes, and nobody else is touched.
"""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from components.plan import plan
from components.topology import Topology, derive
from components.variant import load
from halab.actions.replace import scope
from halab.embedded.engine import Engine, Summary, paths
from halab.embedded.provider import Call, Created, Diff, Props
from halab.image import cache, spec
from halab.workspace import Workspace

ROOT = Path(__file__).parents[2]
NODE = "controller-2"


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
    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, list[tuple[str, str]]()
        self.topology: Topology = derive(load(ROOT, "collapsed"))
        for name in {node.image for node in self.topology.nodes}:
            image = folder / "cache" / "images" / f"{name}-{spec.image_key(name)[:12]}"
            image.mkdir(parents=True)
            for file in cache.FILES:
                (image / file).write_text(f"{name} {file}")
            cache.write_manifest(image, name, spec.image_key(name), {})

    @property
    def workspace(self) -> Workspace:
        return Workspace(ROOT, self.topology, self.folder / "state")

    def engine(self) -> Engine:
        environment = {
            "HALAB_STATE": str(self.folder / "state"),
            "HALAB_CACHE": str(self.folder / "cache"),
            "HALAB_LIBVIRT_URI": "qemu:///system",
            "HALAB_DOMAIN_TYPE": "qemu",
        }
        factories = {name: (lambda name=name: Notes(name, self.done)) for name in ("libvirt", "command")}
        return Engine(
            ROOT,
            "collapsed",
            self.folder / "pulumi",
            "correct horse",
            factories,
            env=environment,
        )

    def replace(self, *, preview: bool = False) -> Summary:
        engine = self.engine()
        run = engine.preview if preview else engine.up
        return run(target=scope(self.workspace, self.topology.node(NODE)), replace=(f"{NODE}-root",))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    found = Stack(tmp_path_factory.mktemp("replace"))
    made = found.engine().up()
    assert made.ok, made.failures
    return found


@pytest.fixture(scope="module")
def replaced(stack: Stack) -> list[tuple[str, str]]:
    stack.done.clear()
    done = stack.replace()
    assert done.ok, done.failures
    return list(stack.done)


def place(done: list[tuple[str, str]], what: str, name: str) -> int:
    assert (what, name) in done, f"{what} {name} is not among {done}"
    return done.index((what, name))


@pytest.mark.timeout(180)
def test_only_the_node_and_what_others_have_to_do_with_it_is_done_again(
    stack: Stack, replaced: list[tuple[str, str]]
) -> None:
    steps = plan(stack.topology).by_name
    own = {name for name, step in steps.items() if step.node == NODE}
    names_it = {name for name, step in steps.items() if NODE in step.members}
    parts = {f"{NODE}-root", f"{NODE}-domain"}
    assert {name for what, name in replaced if what == "create"} == own | names_it | parts
    assert not [name for what, name in replaced if what == "update"]
    assert {name for what, name in replaced if what == "delete"} == names_it | parts, "a dead node's own steps just go"


@pytest.mark.timeout(180)
def test_the_clusters_are_told_before_the_vm_goes_and_wait_for_the_new_one(replaced: list[tuple[str, str]]) -> None:
    gone, come = (place(replaced, what, f"{NODE}-domain") for what in ("delete", "create"))
    witness = "controller-3"
    for step in (f"pacemaker.admit@{witness}", f"rabbitmq.member@{witness}", "pacemaker.push@controller-1"):
        assert place(replaced, "delete", step) < gone
        assert place(replaced, "create", step) > come
    # first the node stands by, then fencing pauses, and only then it goes
    assert place(replaced, "delete", f"pacemaker.admit@{witness}") < place(
        replaced, "delete", "pacemaker.push@controller-1"
    )
    # it takes part again when it is configured, and is waited for
    admitted = place(replaced, "create", f"pacemaker.admit@{witness}")
    assert place(replaced, "create", f"galera.configure@{NODE}") < admitted
    assert place(replaced, "create", "pacemaker.push@controller-1") < admitted
    assert place(replaced, "create", f"corosync.start@{NODE}") < place(
        replaced, "create", "pacemaker.push@controller-1"
    )
    assert ("create", f"galera.member@{witness}") in replaced


@pytest.mark.timeout(180)
def test_a_preview_of_it_tells_the_same_and_does_nothing(stack: Stack, replaced: list[tuple[str, str]]) -> None:
    stack.done.clear()
    told = stack.replace(preview=True)
    assert told.ok
    assert stack.done == []
    assert {urn.rpartition("::")[2] for op, urn, _ in told.steps if op == "replace"} == {
        name for what, name in replaced if what == "create"
    }


@pytest.mark.timeout(180)
def test_afterwards_nothing_is_left_to_do(stack: Stack, replaced: list[tuple[str, str]]) -> None:
    stack.done.clear()
    again: Any = stack.engine().up()
    assert again.ok
    assert stack.done == []
