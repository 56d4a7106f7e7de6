"""An `up` or a preview: registrations become provider operations, then what is left over is deleted."""

from __future__ import annotations

import threading
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from halab.embedded.engine import paths, state, values
from halab.embedded.engine.checkpoint import Pending, now
from halab.embedded.engine.errors import CancelledError, EngineError, StateError, StepError
from halab.embedded.engine.events import Diagnostic, Event, Failure, Op, ResourceLog
from halab.embedded.engine.goal import Goal
from halab.embedded.engine.journal import Entry, Journal, marked
from halab.embedded.engine.order import run_reversed
from halab.embedded.engine.planner import Decision, Planner, Targets
from halab.embedded.engine.providers import Providers
from halab.embedded.engine.run import Run
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


class Deployment(Run):
    """An `up` or a preview: serves the program's registrations, then deletes what it no longer asks for."""

    def __init__(
        self,
        journal: Journal,
        providers: Providers,
        emit: Callable[[Event], None],
        parallel: int,
        root: Path,
        draining: threading.Event,
        aborting: threading.Event,
        *,
        stack: str,
        project: str,
        config: Mapping[str, str],
        dry_run: bool,
        continue_on_error: bool,
        targets: Targets,
        replaced: Targets,
    ) -> None:
        super().__init__(journal, providers, emit, parallel, root, draining, aborting)
        self.stack = stack
        self.project = project
        self.dry_run = dry_run
        self.goals: dict[str, Goal] = {}
        self._config = config
        self._continue = continue_on_error
        self._targets = targets
        self._planner = Planner(journal, providers, root, targets, replaced, dry_run=dry_run)
        self._planning = threading.Lock()
        self._defaults: dict[str, str] = {}
        self._defaulting = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._lost: dict[str, Resource] = {}
        self._program_errors: list[Failure] = []
        self._finished = False

    def register(self, goal: Goal) -> Outcome:
        """Brings one resource to its goal.

        Raises: EngineError when the program cannot go on (and always, on failure, without continue_on_error).
        """
        if self.draining.is_set():
            raise CancelledError("the run was cancelled")
        if goal.custom and not state.is_provider(goal.type) and not goal.provider:
            goal = replace(goal, provider=self._default_provider(goal.package, goal.version))
        with self._planning:
            self.goals[goal.urn] = goal
            old = self._planner.claim(goal)
        if lost := [urn for urn in goal.resource({}).needs() if urn in self._lost]:
            self.emit(ResourceLog(goal.urn, "warning", f"skipped, because {lost[0]} failed or was skipped"))
            return self._lose(goal, old, "skipped")
        try:
            with self._planning:
                decision = self._planner.decide(goal, old)
            self._announce(decision)
            return self._carry_out(goal, decision)
        except (StateError, CancelledError):
            raise
        except (EngineError, ProviderError) as error:
            return self._failed(goal, old, str(error))
        except Exception as error:
            self.emit(ResourceLog(goal.urn, "debug", traceback.format_exc()))
            return self._failed(goal, old, f"{type(error).__name__}: {error}")

    def register_outputs(self, urn: str, outputs: Props) -> None:
        """A component's, or the Stack's, own outputs.

        Raises: StepError when the URN was never registered.
        """
        with self._planning:
            entry = self._entries.get(urn)
            if entry is None or entry.now is None:
                if urn in self._lost:
                    return
                raise StepError(f"outputs of {urn}, which was never registered")
            before = entry.now.outputs
            if not self.dry_run:
                # A failed resource leaves holes: keep what was known of them.
                outputs = {
                    key: before.get(key) if values.has_unknown(value) else value
                    for key, value in outputs.items()
                    if key in before or not values.has_unknown(value)
                }
            if paths.same(before, outputs):
                return
            self.journal.amend(entry, replace(entry.now, outputs=outputs))
        self.journal.commit()

    def get_resource(self, urn: str) -> Props:
        """The answer to the built-in function pulumi:pulumi:getResource.

        Raises: StepError when there is no such resource.
        """
        self._default_provider("pulumi", "")
        with self._planning:
            entry = self._entries.get(urn)
            if entry is None or entry.now is None:
                raise StepError(f"unknown resource {urn}")
            return {"urn": urn, "id": str(entry.now.id), "state": entry.now.outputs}

    def finish(self) -> None:
        """The last phase, after the program is done: deletes what is left over. Failures are recorded."""
        with self._planning:
            if self._finished or self.draining.is_set():
                return
            self._finished = True
            condemned = self._left_over()
            self._planner.deletes |= {entry.urn for op, entry in condemned if op != "delete" or not entry.was.protect}
        for op, entry in condemned:
            self.planned(op, entry.urn)
        ops = {id(entry): op for op, entry in condemned}

        def act(entry: Entry) -> bool:
            return self._delete_left_over(ops[id(entry)], entry)

        run_reversed([entry for _, entry in condemned], act, self.parallel)
        if not (self.failures or self.dry_run or self._targets or self.draining.is_set()):
            self.forget_unfinished()
        self.journal.commit()

    def program_error(self, urn: str, text: str) -> None:
        """An error the program reported itself; after a failed step, or a cancel, it is only their echo."""
        if self.draining.is_set() or self.failures:
            self.emit(Diagnostic("debug", text))
            return
        self._program_errors.append(Failure(urn, text))
        self.emit(ResourceLog(urn, "error", text) if urn else Diagnostic("error", text))

    def program_ended(self, error: str) -> None:
        """The program is over; `error` is "" when it succeeded. A failed step already explains a failed program."""
        self.closed.set()
        if error and not self.failures and not self.draining.is_set():
            self.failures.extend(self._program_errors or [Failure("", error)])
            if not self._program_errors:
                self.emit(Diagnostic("error", error))
        elif not error:
            self.failures.extend(self._program_errors)

    def outputs(self) -> Props:
        """The Stack's outputs as this run leaves them."""
        return next((r.outputs for r in self.journal.resources() if r.type == state.STACK_TYPE), {})

    # Registration.

    def _default_provider(self, package: str, version: str) -> str:
        """The reference of the package's default provider, registered first when it is new."""
        name = f"default_{version.replace('.', '_')}" if version else "default"
        with self._defaulting:
            type_ = state.PROVIDER_PREFIX + package
            urn = state.make_urn(self.stack, self.project, "", type_, name)
            if urn not in self._defaults:
                prefix = f"{package}:"
                inputs: Props = {k.removeprefix(prefix): v for k, v in self._config.items() if k.startswith(prefix)}
                if type_ != state.BUILTIN_PROVIDER:
                    inputs["__internal"] = {}
                if version:
                    inputs["version"] = version
                outcome = self.register(Goal(urn, type_, True, inputs, version=version))
                if outcome.lost:
                    raise StepError(f"the provider of {package} could not be set up")
                self._defaults[urn] = f"{urn}::{outcome.id or UNKNOWN.value}"
            return self._defaults[urn]

    def _announce(self, decision: Decision) -> None:
        for entry in decision.early:
            self.planned("delete-replaced", entry.urn)
        urn = decision.new.urn
        if decision.op == "skip":
            return
        if decision.op != "replace":
            self.planned(decision.op, urn, decision.diff)
            return
        if decision.delete_first:
            self.planned("delete-replaced", urn)
        self.planned("replace", urn, decision.diff)
        self.planned("create-replacement", urn)

    def _carry_out(self, goal: Goal, decision: Decision) -> Outcome:
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
        spared = entry.now.deleted_with in self._planner.deletes
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
            self._instant(op, resource)
        elif self.dry_run or state.is_provider(new.type):
            settle(self._create_provider(new) if state.is_provider(new.type) else act(self._preview_call(new)))
            self._instant(op, new)
        else:
            self._partial(op, "creating", new, act, settle, new.timeouts.get("create"))
        return self._done(made[0], made[0].was)

    def _call_create(self, new: Resource, call: Call) -> Created:
        if self.dry_run and values.has_unknown(self._provider_config(new.provider)):
            return Created("", {})
        inputs = values.for_provider(new.inputs, self.root)
        return self.providers.get(new.provider).create(new.type, call, inputs, preview=self.dry_run)

    def _provider_config(self, reference: str) -> Props:
        entry = self._entries.get(state.parse_ref(reference)[0])
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
            self._instant("update", new)
        elif state.is_provider(new.type):
            outputs = {k: v for k, v in new.inputs.items() if k != "__internal"}
            self._load(new, new.inputs)
            settle(replace(new, outputs=outputs, modified=now()))
            self._instant("update", new)
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

    def _instant(self, op: Op, resource: Resource) -> None:
        if not self.dry_run:
            self.emit_instant(op, resource)

    def _done(self, entry: Entry, resource: Resource) -> Outcome:
        with self._planning:
            self._entries[resource.urn] = entry
        id_ = "" if resource.id == UNKNOWN else resource.id
        return Outcome(resource.urn, id_, resource.outputs if resource.custom else {})

    def _failed(self, goal: Goal, old: Entry | None, error: str) -> Outcome:
        self.fail(goal.urn, error)
        outcome = self._lose(goal, old, "failed")
        if not self._continue:
            raise StepError(f"{goal.urn}: {error}")
        return outcome

    def _lose(self, goal: Goal, old: Entry | None, why: str) -> Outcome:
        with self._planning:
            self._lost[goal.urn] = old.was if old is not None else goal.resource({})
        return Outcome(goal.urn, lost=why)

    # The last phase.

    def _left_over(self) -> list[tuple[Op, Entry]]:
        failed = bool(self.failures)
        needed = self._needed_by_lost() if failed else set()
        found: list[tuple[Op, Entry]] = []
        kept = 0
        for entry in self.journal.old:
            resource = entry.now
            if resource is None or not self._targets.include(entry.urn):
                continue
            if resource.delete:
                if entry.urn not in needed:
                    found.append(("delete-replaced", entry))
            elif not self._planner.operated(entry):
                if failed:
                    kept += 1
                elif resource.pending_replacement:
                    found.append(("remove-pending-replace", entry))
                elif not (self._targets and (holder := self._holder(entry))):
                    found.append(("delete", entry))
                else:
                    self.fail(entry.urn, f"{entry.urn} cannot be deleted alone: {holder} needs it")
        if kept:
            text = f"{kept} resources that the program no longer has are kept, because of the failures"
            self.emit(Diagnostic("warning", text))
        return found

    def _needed_by_lost(self) -> set[str]:
        """URNs that failed or skipped resources rely on, directly or not."""
        needs = {entry.urn: list(entry.was.needs()) for entry in self.journal.old}
        reached: set[str] = set()
        todo = [urn for resource in self._lost.values() for urn in (resource.urn, *resource.needs())]
        while todo:
            urn = todo.pop()
            if urn not in reached:
                reached.add(urn)
                todo.extend(needs.get(urn, ()))
        return reached

    def _holder(self, entry: Entry) -> str:
        """A resource outside the targets that needs this one, or ""."""
        present: Sequence[Resource] = self.journal.resources()
        return next((r.urn for r in present if entry.urn in r.needs() and not self._targets.include(r.urn)), "")

    def _delete_left_over(self, op: Op, entry: Entry) -> bool:
        resource = entry.now
        if resource is None or self.draining.is_set():
            return False
        if op == "remove-pending-replace":
            self.journal.amend(entry, None)
            self._instant(op, resource)
            return True
        if op == "delete" and resource.protect:
            self.fail(entry.urn, f"{entry.urn} is protected; remove protect from it before it can be deleted")
            return False
        spared = resource.deleted_with in self._planner.deletes
        try:
            self.delete(op, entry, dry_run=self.dry_run, spared=spared, after=None)
        except CancelledError:
            return False
        except EngineError as error:
            self.fail(entry.urn, str(error))
            return False
        return True
