"""Decides what each registration means. Pure bookkeeping: no provider operation runs here, only Check and Diff.

The rules are those of the Pulumi engine's step generator (pkg/resource/deploy/step_generator.go), with one
exception: what an interrupted replacement already deleted is not deleted a second time. The caller serializes the
calls, execution happens outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from halab.embedded.engine import changes, paths, state, values
from halab.embedded.engine.errors import StepError
from halab.embedded.engine.events import Change
from halab.embedded.engine.goal import Goal
from halab.embedded.engine.journal import Entry, Journal
from halab.embedded.engine.providers import Providers, config_of
from halab.embedded.engine.state import Resource
from halab.embedded.engine.targets import Targets
from halab.embedded.provider import UNKNOWN, Diff, DiffKind, Props, Provider


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do for one registration.

    `new` lacks an id and outputs, except for "same". For "replace": `early` are deleted first, in that order, then
    the old one itself when `delete_first`; with `keep_old` the old one waits for the end of the run instead.
    """

    op: Literal["same", "create", "update", "replace", "skip"]
    new: Resource
    old: Entry | None = None
    diff: Mapping[str, Change] = field(default_factory=dict)
    early: tuple[Entry, ...] = ()
    delete_first: bool = False
    keep_old: bool = False


class Planner:
    """The memory of a run's decisions. `deletes` and `replaces` are URNs, as in the real engine."""

    def __init__(
        self,
        journal: Journal,
        providers: Providers,
        root: Path,
        targets: Targets,
        replaced: Targets,
        *,
        dry_run: bool,
    ) -> None:
        self._providers = providers
        self._root = root
        self._targets = targets
        self._replaced = replaced
        self._dry_run = dry_run
        self._old_entries = list(journal.old)
        self._olds = {entry.urn: entry for entry in self._old_entries if not entry.was.delete}
        self._seen: set[str] = set()
        self._planned: set[str] = set()
        self._operated: set[int] = set()
        self._early: set[int] = set()
        self.absent: set[str] = set()
        self.deletes: set[str] = set()
        self.replaces: set[str] = set()

    def claim(self, goal: Goal) -> Entry | None:
        """Takes note of a registration and returns the old state it continues.

        Raises: StepError when the URN was registered before.
        """
        if goal.urn in self._seen:
            raise StepError(f"{goal.urn} is registered twice; give one of them another name")
        self._seen.add(goal.urn)
        for urn in (goal.urn, *goal.aliases):
            entry = self._olds.get(urn)
            if entry is not None and id(entry) not in self._operated:
                self._operated.add(id(entry))
                return entry
        return None

    def operated(self, entry: Entry) -> bool:
        """Whether the program still asks for this old resource."""
        return id(entry) in self._operated

    def decide(self, goal: Goal, old: Entry | None) -> Decision:
        """The operation for a claimed goal.

        Raises: StepError when the goal cannot be met (protected, unknown inputs, a failing check);
            ProviderError from Check and Diff.
        """
        self._planned |= {goal.urn, *([] if old is None else [old.urn])}
        recreating = old is not None and old.urn in self.deletes
        if not self._targets.include(goal.urn) and goal.custom:
            return self._untargeted(goal, old)
        if missing := [urn for urn in goal.resource({}).needs() if urn in self.absent]:
            raise StepError(f"{goal.urn} needs {missing[0]}, which does not exist yet and is not among the targets")
        before = old.now if old is not None else None
        inputs = goal.inputs
        if before is not None and not recreating:
            inputs = changes.ignore_changes(inputs, before.inputs, goal.ignore_changes)
        checked = self._check(goal, None if recreating else before, inputs)
        if not self._dry_run and (values.has_unknown(checked) or values.has_unknown(goal.replacement_trigger)):
            raise StepError(f"{goal.urn} has inputs that are still unknown")
        new = goal.resource(checked)
        if before is None or old is None:
            return Decision("create", new, diff=changes.additions(checked))
        if recreating:
            self.deletes.discard(old.urn)
            self.replaces.add(goal.urn)
            return Decision("replace", new, old)
        kinds, delete_before = self._diff(goal, before, new)
        if before.pending_replacement or any(kind.endswith("-replace") for kind in kinds.values()):
            return self._replace(goal, old, before, new, kinds, delete_before)
        shown = changes.shown(before, new, kinds)
        if kinds or before.init_errors:
            return Decision("update", replace(new, id=before.id, created=before.created), old, shown)
        return Decision("same", _continued(before, new), old)

    def _untargeted(self, goal: Goal, old: Entry | None) -> Decision:
        if old is None or old.now is None:
            self.absent.add(goal.urn)
            return Decision("skip", goal.resource(goal.inputs))
        return Decision("same", old.now, old)

    def _check(self, goal: Goal, before: Resource | None, inputs: Props) -> Props:
        if not goal.custom or goal.type == state.BUILTIN_PROVIDER:
            return inputs
        plain = values.for_provider(inputs, self._root)
        if state.is_provider(goal.type):
            checked = self._providers.checker(goal.package).check_config(config_of(plain))
            kept = {k: v for k, v in inputs.items() if k not in config_of(inputs)}
            if before is not None:
                kept = {k: v for k, v in before.inputs.items() if k.startswith("__")} | kept
            restored: Props = values.restore(checked, inputs)
            return restored | kept
        old = None if before is None else values.for_provider(before.inputs, self._root)
        checked = self._providers.get(goal.provider).check(goal.type, goal.name, old, plain)
        restored = values.restore(checked, inputs)
        return restored

    def _diff(self, goal: Goal, before: Resource, new: Resource) -> tuple[dict[str, DiffKind], bool]:
        """The changes by path, and whether the provider wants the old one deleted first."""
        replaced = DiffKind.UPDATE_REPLACE
        if goal.custom and self._replaced.name(goal.urn):
            return {"replace": replaced}, False
        if changes.triggered(before.replacement_trigger, new.replacement_trigger):
            return {"replacementTrigger": replaced}, False
        if any(urn in self.replaces for urn in new.replace_with):
            return {"replaceWith": replaced}, False
        if new.deleted_with and new.deleted_with in self.replaces:
            return {"deletedWith": replaced}, False
        if before.provider != new.provider and not (before.provider and new.provider):
            return {"provider": replaced}, False
        if not goal.custom or state.is_provider(goal.type):
            return {paths.render(p): kind for p, kind in paths.compare(before.inputs, new.inputs)}, False
        found = self._provider_diff(self._providers.get(goal.provider), before, new.inputs)
        return changes.replace_on_changes(found.detailed, new.replace_on_changes, before.init_errors), (
            found.delete_before_replace
        )

    def _provider_diff(self, provider: Provider, before: Resource, inputs: Props) -> Diff:
        return provider.diff(
            before.type,
            before.id,
            values.for_provider(before.inputs, self._root, secrets=True),
            values.for_provider(before.outputs, self._root, secrets=True),
            values.for_provider(inputs, self._root, secrets=True),
        )

    def _replace(
        self,
        goal: Goal,
        old: Entry,
        before: Resource,
        new: Resource,
        kinds: Mapping[str, DiffKind],
        delete_before: bool,
    ) -> Decision:
        if new.protect and before.protect:
            raise StepError(f"{goal.urn} is protected and would be replaced; remove protect from it first")
        self.replaces.add(goal.urn)
        fresh = goal.resource(self._check(goal, None, goal.inputs))
        shown = changes.shown(before, fresh, kinds)
        if goal.delete_before_replace is not None:
            delete_before = goal.delete_before_replace
        if not delete_before:
            # One that was already deleted has nothing left to wait for the end of the run.
            return Decision("replace", fresh, old, shown, keep_old=not before.pending_replacement)
        early = self._condemned_with(old, before)
        for entry in early:
            if entry.was.protect:
                raise StepError(f"{entry.urn} is protected and would be replaced together with {goal.urn}")
        for entry in early:
            self._early.add(id(entry))
            if not entry.was.delete:
                self.deletes.add(entry.urn)
        if not before.pending_replacement:
            self.deletes.add(goal.urn)
        return Decision("replace", fresh, old, shown, early=tuple(early), delete_first=not before.pending_replacement)

    def _condemned_with(self, root: Entry, before: Resource) -> list[Entry]:
        """The old resources that must be deleted ahead of `root`, last dependents first."""
        chosen = [*self._dependents_to_replace(root, before)]
        chosen += [
            entry
            for entry in self._olds.values()
            if (before.urn in entry.was.replace_with or entry.was.deleted_with == before.urn) and self._open(entry)
        ]
        unique: dict[int, Entry] = {}
        for entry in reversed(chosen):
            if id(entry) not in self._early and entry.now is not None and not entry.now.pending_replacement:
                unique.setdefault(id(entry), entry)
        return list(unique.values())

    def _open(self, entry: Entry) -> bool:
        """Whether an old resource has not been decided on yet."""
        return entry.urn not in self._planned and entry.urn not in self.deletes

    def _dependents_to_replace(self, root: Entry, before: Resource) -> Iterable[Entry]:
        """Dependents, in state order, that a replacement of `root` would replace too."""
        reached = {before.urn}
        doomed = {before.urn}
        passed = False
        for entry in self._old_entries:
            passed = passed or entry is root
            resource = entry.was
            if entry is root or not passed or not self._open(entry):
                continue
            if not any(urn in reached for urn in replace(resource, parent="").needs()):
                continue
            reached.add(resource.urn)
            if self._replaced_by(resource, doomed):
                doomed.add(resource.urn)
                yield entry

    def _replaced_by(self, resource: Resource, doomed: set[str]) -> bool:
        if not resource.custom or resource.external:
            return False
        if resource.provider_urn in doomed or resource.deleted_with in doomed:
            return True
        moved = {
            key for key in resource.inputs if any(urn in doomed for urn in resource.property_dependencies.get(key, ()))
        }
        if not moved or state.is_provider(resource.type):
            return False
        inputs = {key: UNKNOWN if key in moved else value for key, value in resource.inputs.items()}
        found = self._provider_diff(self._providers.get(resource.provider), resource, inputs)
        kinds = changes.replace_on_changes(found.detailed, resource.replace_on_changes, ())
        return any(kind.endswith("-replace") for kind in kinds.values())


def _continued(before: Resource, new: Resource) -> Resource:
    """An unchanged resource: the new options over the old identity and outputs."""
    return replace(
        new,
        id=before.id,
        outputs=values.make_secret(before.outputs, new.additional_secret_outputs),
        created=before.created,
        modified=before.modified,
    )
