"""References between the resources of a state: whether they hold, the order they ask for, those that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from halab.embedded.engine.errors import StateError
from halab.embedded.engine.state import STACK_TYPE, Resource, is_provider, parse_ref
from halab.embedded.provider import UNKNOWN


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
