"""What the embedded engine asks of a resource provider.

The shape follows Pulumi's provider protocol (CheckConfig, Configure, Check, Diff, Create, Read, Update, Delete),
in process and synchronous: the engine calls from many threads at once, so a provider guards what it shares.
Property maps are plain JSON-like values with camelCase keys. An unknown value is `UNKNOWN`; a secret is `Secret(value)`
in `diff` only, elsewhere the engine has already unwrapped secrets. Assets and archives are `Asset` / `Archive`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

Props = dict[str, Any]


class Unknown(StrEnum):
    """The one value that stands for an output not known before `up` (the SDK's sentinel string)."""

    UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


UNKNOWN = Unknown.UNKNOWN


@dataclass(frozen=True, slots=True)
class Secret:
    """A value to be encrypted in state and masked in every display."""

    value: Any


@dataclass(frozen=True, slots=True)
class Asset:
    """A file's content: exactly one of text, path; `hash` is the SHA-256 hex digest of the bytes."""

    hash: str
    text: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """A directory or archive file (`path`), or named assets and archives; `hash` is a SHA-256 hex digest."""

    hash: str
    path: str | None = None
    assets: Mapping[str, Asset | Archive] | None = None


class DiffKind(StrEnum):
    """Pulumi's PropertyDiff.Kind."""

    ADD = "add"
    ADD_REPLACE = "add-replace"
    DELETE = "delete"
    DELETE_REPLACE = "delete-replace"
    UPDATE = "update"
    UPDATE_REPLACE = "update-replace"


@dataclass(frozen=True, slots=True)
class Diff:
    """Paths ("disks[0].volumeId") to the kind of change; empty means unchanged."""

    detailed: Mapping[str, DiffKind] = field(default_factory=dict)
    delete_before_replace: bool = False

    @property
    def changes(self) -> bool:
        return bool(self.detailed)

    @property
    def replaces(self) -> bool:
        return any(kind.endswith("-replace") for kind in self.detailed.values())


@dataclass(frozen=True, slots=True)
class Call:
    """What surrounds one operation. `timeout` in seconds (custom_timeouts of this operation) or None."""

    urn: str
    timeout: float | None
    log: Callable[[str, str], None]  # (severity "debug"|"info"|"warning"|"error", line)
    cancelled: threading.Event


@dataclass(frozen=True, slots=True)
class Created:
    """A new resource: its id ("" when previewing and unknown) and its outputs."""

    id: str
    outputs: Props


class ProviderError(Exception):
    """An operation failed; the message is one the user can act on.

    `created` is set when the resource exists nevertheless (Pulumi's "initialization failed"): the engine then keeps it
    in state with this message among its initErrors. `uncertain`: a create may have had its effect or a part of it; the
    engine then has it taken back before the next one.
    """

    def __init__(self, message: str, created: Created | None = None, *, uncertain: bool = False) -> None:
        super().__init__(message)
        self.created = created
        self.uncertain = uncertain


class Provider(Protocol):
    """One configured provider: `libvirt` or `command`. A new instance per provider resource of the program."""

    package: str
    version: str

    def check_config(self, inputs: Props) -> Props: ...
    def configure(self, inputs: Props) -> None: ...
    def check(self, type_: str, name: str, old: Props | None, new: Props) -> Props: ...
    def diff(self, type_: str, id_: str, old_inputs: Props, old_outputs: Props, new_inputs: Props) -> Diff: ...
    def create(self, type_: str, call: Call, inputs: Props, *, preview: bool) -> Created: ...
    def read(self, type_: str, call: Call, id_: str, inputs: Props, outputs: Props) -> Props | None: ...
    def update(
        self, type_: str, call: Call, id_: str, old_inputs: Props, old_outputs: Props, inputs: Props, *, preview: bool
    ) -> Props: ...
    def delete(self, type_: str, call: Call, id_: str, inputs: Props, outputs: Props) -> None: ...
    def close(self) -> None: ...


@runtime_checkable
class Recovers(Protocol):
    """A provider that can also take back what an interrupted create left behind.

    Called before the resource is created again, or forgotten, when the process that was creating it died before it
    could record an id: `inputs` are those of that create. Removing nothing is right when nothing is there.
    """

    def take_back(self, type_: str, call: Call, inputs: Props) -> None: ...
