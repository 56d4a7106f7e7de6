"""Resources as the engine keeps them: URNs, the state of one resource, its form in a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from halab.embedded.engine import values
from halab.embedded.engine.errors import StateError
from halab.embedded.provider import UNKNOWN, Props

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


def check_integrity(resources: Iterable[Resource]) -> None:
    """Every reference must name a resource that comes earlier in the list.

    Raises: StateError naming the first resource that breaks the rule.
    """
    seen: set[str] = set()
    live: set[str] = set()
    providers: set[str] = set()
    for resource in resources:
        for urn in resource.needs():
            if urn not in seen:
                raise StateError(f"{resource.urn} refers to {urn}, which is not in the state before it")
        if resource.provider and parse_ref(resource.provider)[1] != UNKNOWN and resource.provider not in providers:
            raise StateError(f"{resource.urn} refers to unknown provider {resource.provider}")
        if not resource.delete:
            if resource.urn in live:
                raise StateError(f"{resource.urn} appears twice in the state")
            live.add(resource.urn)
        seen.add(resource.urn)
        if is_provider(resource.type):
            providers.add(f"{resource.urn}::{resource.id}")


def in_order(resources: list[Resource]) -> list[Resource]:
    """The same resources, each after those it needs, otherwise in the given order.

    Several states may share a URN (an old one waiting for deletion beside the new one); any of them that comes first
    satisfies a reference, except that a provider reference wants its very id.
    """
    present: dict[str, list[int]] = {}
    for index, resource in enumerate(resources):
        present.setdefault(resource.urn, []).append(index)
    placed: set[str] = set()
    done = [False] * len(resources)
    ordered: list[Resource] = []

    def place(index: int) -> None:
        stack = [index]
        while stack:
            at = stack[-1]
            if done[at]:
                stack.pop()
                continue
            resource = resources[at]
            missing = [
                choice
                for urn in resource.needs()
                if urn not in placed and (choice := _pick(resources, present.get(urn, []), done, stack)) is not None
            ]
            if resource.provider and (choice := _provider_index(resources, present, resource, done)) is not None:
                missing.append(choice)
            missing = [item for item in missing if item not in stack]
            if missing:
                stack.append(missing[0])
                continue
            done[at] = True
            placed.add(resource.urn)
            ordered.append(resource)
            stack.pop()

    for index in range(len(resources)):
        place(index)
    return ordered


def _pick(resources: list[Resource], choices: list[int], done: list[bool], stack: list[int]) -> int | None:
    open_ = [index for index in choices if not done[index] and index not in stack]
    return next((i for i in open_ if not resources[i].delete), open_[0] if open_ else None)


def _provider_index(
    resources: list[Resource], present: dict[str, list[int]], resource: Resource, done: list[bool]
) -> int | None:
    urn, id_ = parse_ref(resource.provider)
    return next((i for i in present.get(urn, []) if resources[i].id == id_ and not done[i]), None)


def without_dangling(resources: list[Resource]) -> list[Resource]:
    """The resources with references to vanished ones removed; a vanished parent is replaced by the Stack."""
    live = {resource.urn for resource in resources}
    root = next((resource.urn for resource in resources if resource.type == STACK_TYPE), "")
    kept: list[Resource] = []
    for resource in resources:
        if all(urn in live for urn in resource.needs()):
            kept.append(resource)
            continue
        kept.append(
            replace(
                resource,
                parent=resource.parent if resource.parent in live else root,
                dependencies=tuple(urn for urn in resource.dependencies if urn in live),
                property_dependencies={
                    key: tuple(urn for urn in urns if urn in live)
                    for key, urns in resource.property_dependencies.items()
                },
                deleted_with=resource.deleted_with if resource.deleted_with in live else "",
                replace_with=tuple(urn for urn in resource.replace_with if urn in live),
            )
        )
    return kept


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def seconds(duration: str) -> float:
    """A Go duration ("1h30m", "90s") in seconds.

    Raises: ValueError when it is not one.
    """
    if not duration or _DURATION.sub("", duration):
        raise ValueError(f"not a duration: {duration!r} (like 90s or 5m)")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(duration))
