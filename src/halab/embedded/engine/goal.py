"""What the program asks for: one RegisterResource request, decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halab.embedded.engine import state, values
from halab.embedded.engine.errors import UnsupportedError
from halab.embedded.engine.state import Resource
from halab.embedded.provider import Props


@dataclass(frozen=True, slots=True)
class Goal:
    """A resource as the program wants it. None for an option means the program did not set it."""

    urn: str
    type: str
    custom: bool
    inputs: Props = field(default_factory=dict)
    parent: str = ""
    provider: str = ""
    version: str = ""
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    delete_before_replace: bool | None = None
    protect: bool | None = None
    retain_on_delete: bool | None = None
    deleted_with: str = ""
    replace_with: tuple[str, ...] = ()
    replacement_trigger: Any = None
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    hide_diffs: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    timeouts: Mapping[str, float] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return state.urn_name(self.urn)

    @property
    def package(self) -> str:
        return state.package_of(self.type)

    def resource(self, inputs: Props) -> Resource:
        """The state this goal leads to, without what only the provider knows (id, outputs)."""
        return Resource(
            urn=self.urn,
            type=self.type,
            custom=self.custom,
            inputs=inputs,
            parent=self.parent,
            provider=self.provider,
            dependencies=self.dependencies,
            property_dependencies=self.property_dependencies,
            deleted_with=self.deleted_with,
            replace_with=self.replace_with,
            protect=bool(self.protect),
            retain_on_delete=bool(self.retain_on_delete),
            additional_secret_outputs=self.additional_secret_outputs,
            timeouts=self.timeouts,
            ignore_changes=self.ignore_changes,
            replace_on_changes=self.replace_on_changes,
            hide_diffs=self.hide_diffs,
            replacement_trigger=self.replacement_trigger,
        )


def decode(request: Any, stack: str, project: str, root: Path, goals: Mapping[str, Goal]) -> Goal:
    """A RegisterResourceRequest as a Goal; `goals` holds what was registered before, for inheritance from the parent.

    Raises: UnsupportedError naming what the embedded engine does not serve; ValueError for a malformed timeout.
    """
    urn = state.make_urn(stack, project, request.parent, request.type, request.name)
    for asked, what in (
        (request.remote, "remote components"),
        (request.importId, "the import option"),
        (request.transforms, "transforms"),
        (request.state_migrations, "state migrations"),
        (request.packageRef, "parameterized packages"),
        (request.HasField("hooks") and any(len(names) for _, names in request.hooks.ListFields()), "resource hooks"),
    ):
        if asked:
            raise UnsupportedError(f"{urn} uses {what}, which the embedded engine does not serve (try --engine cli)")
    parent = goals.get(request.parent)
    timeouts = {
        name: state.seconds(text)
        for name in ("create", "update", "delete", "read")
        if (text := getattr(request.customTimeouts, name))
    }
    inputs = values.decode(request.object, root)
    if state.is_provider(request.type):
        if request.version:
            inputs["version"] = request.version
        inputs["__internal"] = {}
    return Goal(
        urn=urn,
        type=request.type,
        custom=request.custom,
        inputs=inputs,
        parent=request.parent,
        provider=request.provider or _inherited_provider(request, parent),
        version=request.version,
        dependencies=tuple(sorted(request.dependencies)),
        property_dependencies={key: tuple(sorted(item.urns)) for key, item in request.propertyDependencies.items()},
        delete_before_replace=(
            request.deleteBeforeReplace if request.deleteBeforeReplaceDefined or request.deleteBeforeReplace else None
        ),
        protect=request.protect if request.HasField("protect") else parent.protect if parent else None,
        retain_on_delete=(
            request.retainOnDelete
            if request.HasField("retainOnDelete")
            else parent.retain_on_delete
            if parent
            else None
        ),
        deleted_with=request.deletedWith or (parent.deleted_with if parent else ""),
        replace_with=tuple(request.replace_with),
        replacement_trigger=(
            values.decode_value(request.replacement_trigger, root) if request.HasField("replacement_trigger") else None
        ),
        ignore_changes=tuple(request.ignoreChanges),
        replace_on_changes=tuple(request.replaceOnChanges),
        hide_diffs=tuple(request.hideDiffs),
        additional_secret_outputs=tuple(request.additionalSecretOutputs),
        timeouts=timeouts,
        aliases=tuple(request.aliasURNs),
    )


def _inherited_provider(request: Any, parent: Goal | None) -> str:
    """A parent's provider, when it serves the child's package or the child is a component itself."""
    if parent is None or not parent.provider:
        return ""
    package = state.package_of(state.urn_type(state.parse_ref(parent.provider)[0]))
    return parent.provider if not request.custom or package == state.package_of(request.type) else ""
