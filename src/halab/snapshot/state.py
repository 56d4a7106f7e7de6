"""The engine's state of a snapshot, and what it becomes in the stack that gets the cloud."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from halab.embedded.engine import checkpoint, values
from halab.embedded.engine.checkpoint import Loaded, Sealer, Store
from halab.embedded.engine.cipher import Cipher
from halab.embedded.engine.state import STACK_TYPE, Resource, parse_ref, qualified_type, urn_name, urn_type
from halab.embedded.provider import Secret
from halab.errors import HalabError
from halab.workspace import DESCRIPTION, Workspace, write_text

STATE, PASSPHRASE, SEED = "state.json", "passphrase", "keys/seed.json"
_LAB, _FENCING = "halab:lab:Lab", "fencing"
_PROJECT = "halab"


@dataclass(frozen=True, slots=True)
class Names:
    """What a state says of the stack it is of: its name, and the folder in which its hypervisor and keys are."""

    stack: str
    root: str


def keep(workspace: Workspace, folder: Path) -> None:
    """Put state, the seed of all keys, and this host's own passphrase into a snapshot. Raises HalabError."""
    for source, name in ((workspace.checkpoint, STATE), (workspace.paths.keys / "seed.json", SEED)):
        target = folder / name
        target.parent.mkdir(exist_ok=True, mode=0o700)
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise HalabError(f"{source}: {error.strerror}") from None
        target.chmod(0o600)
    described = workspace.description if workspace.description.exists() else workspace.file
    write_text(folder / DESCRIPTION, described.read_text())
    own = workspace.state / "passphrase"
    if not os.environ.keys() & {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} and own.exists():
        write_text(folder / PASSPHRASE, own.read_text())


def unfinished(workspace: Workspace) -> bool:
    """Whether the state knows of operations that an earlier run did not finish."""
    found = checkpoint.deployment_of(json.loads(workspace.checkpoint.read_text()))
    return bool(found.get("pending_operations"))


def load(workspace: Workspace, folder: Path) -> tuple[Loaded, Sealer]:
    """A snapshot's state, and what encrypts it for this stack. Raises StateError, PassphraseError."""
    deployment = checkpoint.deployment_of(json.loads((folder / STATE).read_text()))
    salt = checkpoint.salt_of(deployment)
    own, where = folder / PASSPHRASE, f"the snapshot {folder}"
    mine = workspace.passphrase()
    theirs = own.read_text().strip() if own.exists() else mine
    opened = Cipher.open(theirs, salt, where) if salt else Cipher.new(mine)
    if theirs == mine:
        sealer = Sealer(opened)
        return checkpoint.decode(deployment, workspace.project, sealer), sealer
    sealer = Sealer(Cipher.new(mine))
    return checkpoint.decode(deployment, workspace.project, sealer, opened), sealer


def put_back(workspace: Workspace, folder: Path, was: Names) -> Loaded:
    """The snapshot's state and keys as this stack's own. Raises StateError, PassphraseError, HalabError."""
    loaded, sealer = load(workspace, folder)
    now = Names(workspace.stack, str(workspace.paths.root))
    if was != now:
        loaded = rewritten(loaded, was, now)
    seed = workspace.paths.keys / "seed.json"
    write_text(seed, (folder / SEED).read_text())
    seed.parent.chmod(0o700)
    described = folder / DESCRIPTION if was.stack == now.stack else workspace.file
    write_text(workspace.description, described.read_text())
    store = Store(workspace.checkpoint, f"organization/{_PROJECT}/{workspace.stack}", workspace.project)
    store.write(sealer, loaded.resources, loaded.pending)
    return loaded


def fencing(loaded: Loaded) -> str | None:
    """What the state's fencing daemon was given on stdin, None for a cloud without one."""
    for resource in loaded.resources:
        if resource.type == "command:local:Command" and resource.name == _FENCING:
            return str(values.unwrap(resource.inputs["stdin"]))
    return None


def rewritten(loaded: Loaded, was: Names, now: Names) -> Loaded:
    """The same cloud's state as that of another stack. Pure."""
    return Loaded(
        tuple(_resource(one, was, now) for one in loaded.resources),
        tuple((kind, _resource(one, was, now)) for kind, one in loaded.pending),
    )


def _resource(one: Resource, was: Names, now: Names) -> Resource:
    def urn(text: str) -> str:
        return _urn(text, was.stack, now.stack)

    def provider(text: str) -> str:
        return "::".join((urn(parse_ref(text)[0]), parse_ref(text)[1])) if text else ""

    def value(tree: Any) -> Any:
        return _value(tree, lambda text: _text(text, was, now), urn)

    return replace(
        one,
        urn=urn(one.urn),
        inputs=value(one.inputs),
        outputs=value(one.outputs),
        parent=urn(one.parent),
        provider=provider(one.provider),
        dependencies=tuple(map(urn, one.dependencies)),
        property_dependencies={key: tuple(map(urn, urns)) for key, urns in one.property_dependencies.items()},
        deleted_with=urn(one.deleted_with),
        replace_with=tuple(map(urn, one.replace_with)),
    )


def _urn(text: str, was: str, now: str) -> str:
    """A URN of the stack `was` as that of `now`: the stack's name is in all of them, and in the names of two."""
    if not text:
        return ""
    name = urn_name(text)
    if urn_type(text) == STACK_TYPE:
        name = f"{_PROJECT}-{now}"
    elif urn_type(text) == _LAB and name == was:
        name = now
    return f"urn:pulumi:{now}::{_PROJECT}::{qualified_type(text)}::{name}"


def _text(text: str, was: Names, now: Names) -> str:
    """A property: paths below the stack's folder, and the option by which halab's commands are told the stack."""
    text = re.sub(rf"{re.escape(was.root)}(?=/|$)", lambda _: now.root, text)
    return re.sub(rf"--stack {re.escape(was.stack)}(?= |$)", lambda _: f"--stack {now.stack}", text)


def _value(tree: Any, text: Callable[[str], str], urn: Callable[[str], str]) -> Any:
    if isinstance(tree, str):
        return text(tree) if type(tree) is str else tree
    if isinstance(tree, Secret):
        return Secret(_value(tree.value, text, urn))
    if isinstance(tree, values.Ref):
        return values.Ref(urn(tree.urn), tree.id)
    if isinstance(tree, Mapping):
        return {key: _value(item, text, urn) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_value(item, text, urn) for item in tree]
    return tree
