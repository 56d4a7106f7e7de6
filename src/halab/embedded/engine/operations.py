"""What a decision takes: the provider operations on one resource, and what the state then holds."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from halab.embedded.engine import state, values
from halab.embedded.engine.checkpoint import Pending, now
from halab.embedded.engine.errors import EngineError, StepError
from halab.embedded.engine.events import Op, ResourceLog
from halab.embedded.engine.goal import Goal
from halab.embedded.engine.journal import Entry, Journal, marked
from halab.embedded.engine.planner import Decision, Planner
from halab.embedded.engine.providers import Providers
from halab.embedded.engine.run import Caller, Run
from halab.embedded.engine.state import Resource
from halab.embedded.provider import UNKNOWN, Call, Created, Props, ProviderError


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a registration. `lost` is "" or why the resource is not there: "failed" or "skipped"."""

    urn: str
    id: str = ""
    outputs: Props = field(default_factory=dict)
    lost: str = ""
    unknown: bool = False


class Operations(Run):
    """Carries decisions out. `planning` guards `entries` (URN to what stands of it in this run) and the planner."""

    def __init__(
        self,
        journal: Journal,
        providers: Providers,
        caller: Caller,
        *,
        planner: Planner,
        dry_run: bool,
    ) -> None:
        super().__init__(journal, providers, caller)
        self.dry_run = dry_run
        self.planner = planner
        self.planning = threading.Lock()
        self.entries: dict[str, Entry] = {}

    def carry_out(self, goal: Goal, decision: Decision) -> Outcome:
        """Does what was decided, the deletions that come before it included.

        Raises: EngineError or ProviderError when an operation fails; what was done until then is in the journal.
        """
        if decision.op == "skip":
            return Outcome(goal.urn, unknown=True)
        if decision.op == "same" and decision.old is not None:
            return self._same(decision.old, decision.new)
        if decision.op == "update" and decision.old is not None:
            return self._update(decision.old, decision.new)
        condemned = [*decision.early, *([decision.old] if decision.delete_first and decision.old else [])]
        spared: list[Entry] = []
        try:
            for entry in condemned:
                if self._delete_ahead(entry):
                    spared.append(entry)
        except EngineError:
            self._bring_back(spared)
            raise
        return self._create(decision)

    def _bring_back(self, spared: Sequence[Entry]) -> None:
        """What was to go down with another resource is still there when that one was not deleted after all."""
        for entry in reversed(spared):
            if self.journal.holds(entry.was.deleted_with):
                self.journal.amend(entry, entry.was)
        self.journal.commit()

    def _delete_ahead(self, entry: Entry) -> bool:
        """Deletes one old resource before its replacement; says whether another's deletion is to take it along."""
        if entry.now is None:
            return False
        after = None if entry.now.delete else marked(entry.now, pending_replacement=True)
        spared = entry.now.deleted_with in self.planner.deletes
        try:
            self.delete("delete-replaced", entry, dry_run=self.dry_run, spared=spared, after=after)
        except StepError as error:
            raise StepError(f"deleting {state.urn_name(entry.urn)} ahead of the replacement: {error}") from error
        return spared

    def _same(self, old: Entry, new: Resource) -> Outcome:
        if state.is_provider(new.type):
            self._load(new, new.inputs if old.now is None else old.now.inputs)
        entry, changed = self.journal.carry(old, new)
        if changed:
            self.journal.commit()
        return self._done(entry, new)

    def _create(self, decision: Decision) -> Outcome:
        new, old = decision.new, decision.old
        op: Op = "create" if decision.op == "create" else "create-replacement"
        instead = None if decision.keep_old else old
        made: list[Entry] = []

        def settle(resource: Resource) -> None:
            if decision.keep_old and old is not None and old.now is not None:
                self.journal.amend(old, marked(old.now, delete=True))
            made.append(self.journal.add(resource, instead))

        def act(call: Call) -> Resource:
            if not self.dry_run:
                self.take_back(new.urn)
            created = self._call_create(new, call)
            resource = self._with_result(new, created.id, created.outputs, created=now())
            if not created.id and not self.dry_run:
                raise StepError("the provider returned no id")
            return resource

        if not new.custom:
            resource = replace(new, created=now(), modified=now())
            settle(resource)
            self.instant(op, resource)
        elif self.dry_run or state.is_provider(new.type):
            settle(self._create_provider(new) if state.is_provider(new.type) else act(self._preview_call(new)))
            self.instant(op, new)
        else:
            self._partial(op, "creating", new, act, settle, new.timeouts.get("create"))
        return self._done(made[0], made[0].was)

    def _call_create(self, new: Resource, call: Call) -> Created:
        if self.dry_run and values.has_unknown(self._provider_config(new.provider)):
            return Created("", {})
        inputs = values.for_provider(new.inputs, self.root)
        return self.providers.get(new.provider).create(new.type, call, inputs, preview=self.dry_run)

    def _provider_config(self, reference: str) -> Props:
        entry = self.entries.get(state.parse_ref(reference)[0])
        return entry.now.inputs if entry is not None and entry.now is not None else {}

    def _create_provider(self, new: Resource) -> Resource:
        made = replace(new, id=UNKNOWN.value if self.dry_run else str(uuid.uuid4()), created=now(), modified=now())
        made = replace(made, outputs={k: v for k, v in new.inputs.items() if k != "__internal"})
        self._load(made, made.inputs)
        return made

    def _update(self, old: Entry, new: Resource) -> Outcome:
        before = old.now
        if before is None:
            raise StepError(f"{new.urn} has no old state")
        made: list[Entry] = []

        def settle(resource: Resource) -> None:
            made.append(self.journal.add(resource, old))

        def act(call: Call) -> Resource:
            if self.dry_run and values.has_unknown(self._provider_config(new.provider)):
                return self._with_result(new, before.id, {}, created=before.created)
            outputs = self.providers.get(new.provider).update(
                new.type,
                call,
                before.id,
                values.for_provider(before.inputs, self.root),
                values.for_provider(before.outputs, self.root),
                values.for_provider(new.inputs, self.root),
                preview=self.dry_run,
            )
            return self._with_result(new, before.id, outputs, created=before.created)

        if not new.custom:
            settle(replace(new, outputs=before.outputs, modified=now()))
            self.instant("update", new)
        elif state.is_provider(new.type):
            outputs = {k: v for k, v in new.inputs.items() if k != "__internal"}
            self._load(new, new.inputs)
            settle(replace(new, outputs=outputs, modified=now()))
            self.instant("update", new)
        elif self.dry_run:
            settle(act(self._preview_call(new)))
        else:
            self._partial("update", "updating", new, act, settle, new.timeouts.get("update"))
        return self._done(made[0], made[0].was)

    def _partial(
        self,
        op: Op,
        kind: Pending,
        new: Resource,
        act: Callable[[Call], Resource],
        settle: Callable[[Resource], None],
        timeout: float | None,
    ) -> None:
        """`operate`, keeping a resource that exists although its provider failed (init errors)."""

        def keeping(call: Call) -> Resource:
            try:
                return act(call)
            except ProviderError as error:
                if error.created is not None:
                    kept = self._with_result(new, error.created.id, error.created.outputs, created=new.created or now())
                    settle(replace(kept, init_errors=(str(error),)))
                raise

        self.operate(op, kind, new, keeping, settle, timeout)

    def _with_result(self, new: Resource, id_: str, outputs: Props, *, created: str) -> Resource:
        restored = values.restore(outputs, new.inputs)
        return replace(
            new,
            id=id_,
            outputs=values.make_secret(restored, new.additional_secret_outputs),
            created=created,
            modified=now(),
        )

    def _load(self, resource: Resource, inputs: Props) -> None:
        if resource.type != state.BUILTIN_PROVIDER:
            reference = f"{resource.urn}::{resource.id}"
            self.providers.load(reference, state.package_of(resource.type), inputs)

    def _preview_call(self, resource: Resource) -> Call:
        def log(severity: str, line: str) -> None:
            self.emit(ResourceLog(resource.urn, "info" if severity == "info" else "debug", line))

        return Call(resource.urn, None, log, self.aborting)

    def instant(self, op: Op, resource: Resource) -> None:
        """A step without a provider operation; nothing in a preview."""
        if not self.dry_run:
            self.emit_instant(op, resource)

    def _done(self, entry: Entry, resource: Resource) -> Outcome:
        with self.planning:
            self.entries[resource.urn] = entry
        id_ = "" if resource.id == UNKNOWN else resource.id
        return Outcome(resource.urn, id_, resource.outputs if resource.custom else {})
