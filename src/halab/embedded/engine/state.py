"""Resources as the engine keeps them: URNs, the state of one resource, its form in a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from halab.embedded.engine import values
from halab.embedded.engine.errors import StateError
from halab.embedded.provider import Props

STACK_TYPE = "pulumi:pulumi:Stack"
PROVIDER_PREFIX = "pulumi:providers:"
# The engine's own functions (getResource) come from this one; no plugin stands behind it.
BUILTIN_PROVIDER = "pulumi:providers:pulumi"

# Bookkeeping the real engine writes into a provider's inputs; never part of its configuration.
RESERVED_PROVIDER_KEYS = frozenset({"version", "pluginDownloadURL"})


def make_urn(stack: str, project: str, parent: str, type_: str, name: str) -> str:
    """The URN of a resource; `parent` is its parent's URN or ""."""
    chain = ""
    if parent and (qualified := qualified_type(parent)) != STACK_TYPE:
        chain = f"{qualified}$"
    return f"urn:pulumi:{stack}::{project}::{chain}{type_}::{name}"


def qualified_type(urn: str) -> str:
    """The chain of types in a URN ("a:b:C$d:e:F")."""
    return urn.split("::", 3)[2]


def urn_name(urn: str) -> str:
    """The resource's own name in a URN."""
    return urn.split("::", 3)[3]


def urn_type(urn: str) -> str:
    """The resource's own type in a URN."""
    return qualified_type(urn).rpartition("$")[2]


def package_of(type_: str) -> str:
    """The package that serves a type; for a provider's type, the package it configures."""
    if type_.startswith(PROVIDER_PREFIX):
        return type_.removeprefix(PROVIDER_PREFIX)
    return type_.partition(":")[0]


def is_provider(type_: str) -> bool:
    return type_.startswith(PROVIDER_PREFIX)


def is_default_provider(urn: str) -> bool:
    name = urn_name(urn)
    return is_provider(urn_type(urn)) and (name == "default" or name.startswith("default_"))


def parse_ref(reference: str) -> tuple[str, str]:
    """A provider reference `URN::id` as (URN, id)."""
    urn, _, id_ = reference.rpartition("::")
    return urn, id_


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Resource:
    """One resource's state. Immutable: a change is a new object, so its stored form can be kept beside it.

    `provider` is `URN::id`; `timeouts` maps create, update, delete, read to seconds; `created` and `modified` are
    RFC 3339; `extra` holds fields of an imported checkpoint that the engine does not use.
    """

    urn: str
    type: str
    custom: bool
    id: str = ""
    inputs: Props = field(default_factory=dict)
    outputs: Props = field(default_factory=dict)
    parent: str = ""
    provider: str = ""
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    deleted_with: str = ""
    replace_with: tuple[str, ...] = ()
    delete: bool = False
    pending_replacement: bool = False
    protect: bool = False
    retain_on_delete: bool = False
    external: bool = False
    init_errors: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    timeouts: Mapping[str, float] = field(default_factory=dict)
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    hide_diffs: tuple[str, ...] = ()
    replacement_trigger: Any = None
    created: str = ""
    modified: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return urn_name(self.urn)

    @property
    def provider_urn(self) -> str:
        return parse_ref(self.provider)[0] if self.provider else ""

    def needs(self) -> Iterator[str]:
        """The URNs that must exist for this resource to exist, its parent included (repeats are possible)."""
        if self.parent:
            yield self.parent
        if self.provider:
            yield self.provider_urn
        yield from self.dependencies
        for urns in self.property_dependencies.values():
            yield from urns
        if self.deleted_with:
            yield self.deleted_with
        yield from self.replace_with


# Checkpoint key -> attribute.
_SIMPLE = {
    "parent": "parent",
    "provider": "provider",
    "dependencies": "dependencies",
    "deletedWith": "deleted_with",
    "replaceWith": "replace_with",
    "delete": "delete",
    "pendingReplacement": "pending_replacement",
    "protect": "protect",
    "retainOnDelete": "retain_on_delete",
    "external": "external",
    "initErrors": "init_errors",
    "additionalSecretOutputs": "additional_secret_outputs",
    "ignoreChanges": "ignore_changes",
    "replaceOnChanges": "replace_on_changes",
    "hideDiff": "hide_diffs",
    "created": "created",
    "modified": "modified",
}
_VALUES = {"inputs": "inputs", "outputs": "outputs", "replacementTrigger": "replacement_trigger"}
_OTHER = {"urn", "type", "custom", "id", "propertyDependencies", "customTimeouts"}
_TUPLES = {f.name for f in fields(Resource) if str(f.type).startswith("tuple")}


def to_json(resource: Resource, close_secret: Callable[[str], dict[str, str]]) -> dict[str, Any]:
    """A resource as checkpoint JSON; empty fields are left out, as the real engine does."""
    tree: dict[str, Any] = {"urn": resource.urn, "custom": resource.custom}
    if resource.id:
        tree["id"] = str(resource.id)
    tree["type"] = resource.type
    for key, attribute in _VALUES.items():
        value = getattr(resource, attribute)
        if value is not None and value != {}:
            tree[key] = values.to_state(value, close_secret)
    for key, attribute in _SIMPLE.items():
        if value := getattr(resource, attribute):
            tree[key] = list(value) if isinstance(value, tuple) else value
    if resource.property_dependencies:
        tree["propertyDependencies"] = {
            key: list(urns) if urns else None for key, urns in sorted(resource.property_dependencies.items())
        }
    if resource.timeouts:
        tree["customTimeouts"] = dict(resource.timeouts)
    return tree | {key: value for key, value in resource.extra.items() if key not in tree}


def from_json(tree: Mapping[str, Any], root: Path, open_secret: Callable[[str], str]) -> Resource:
    """The inverse of `to_json`.

    Raises: StateError when a required field is missing.
    """
    urn = tree.get("urn")
    if not isinstance(urn, str) or urn.count("::") < 3 or "type" not in tree:
        raise StateError(f"a resource in the state has no valid urn and type: {str(urn)[:200]!r}")
    if tree.get("id") and not tree.get("custom"):
        raise StateError(f"{urn} has an id but is not custom")
    given: dict[str, Any] = {}
    for key, attribute in _SIMPLE.items():
        if (value := tree.get(key)) is not None:
            given[attribute] = tuple(value) if attribute in _TUPLES else value
    for key, attribute in _VALUES.items():
        if (value := tree.get(key)) is not None:
            given[attribute] = values.from_state(value, root, open_secret)
    known = _SIMPLE.keys() | _VALUES.keys() | _OTHER
    return Resource(
        urn=urn,
        type=tree["type"],
        custom=bool(tree.get("custom")),
        id=tree.get("id") or "",
        property_dependencies={k: tuple(v or ()) for k, v in (tree.get("propertyDependencies") or {}).items()},
        timeouts={k: v for k, v in (tree.get("customTimeouts") or {}).items() if v},
        extra={k: v for k, v in tree.items() if k not in known},
        **given,
    )


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def seconds(duration: str) -> float:
    """A Go duration ("1h30m", "90s") in seconds.

    Raises: ValueError when it is not one.
    """
    if not duration or _DURATION.sub("", duration):
        raise ValueError(f"not a duration: {duration!r} (like 90s or 5m)")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(duration))
