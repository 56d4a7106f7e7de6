"""An `up` or a preview: registrations become provider operations, then what is left over is deleted."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace

from halab.embedded.engine import paths, state, values
from halab.embedded.engine.errors import CancelledError, EngineError, StateError, StepError
from halab.embedded.engine.events import Diagnostic, Failure, Op, ResourceLog
from halab.embedded.engine.goal import Goal
from halab.embedded.engine.journal import Entry, Journal
from halab.embedded.engine.operations import Operations, Outcome
from halab.embedded.engine.order import run_reversed
from halab.embedded.engine.planner import Decision, Planner
from halab.embedded.engine.providers import Providers
from halab.embedded.engine.run import Caller
from halab.embedded.engine.state import Resource
from halab.embedded.engine.targets import Targets
from halab.embedded.provider import UNKNOWN, Props, ProviderError


class Deployment(Operations):
    """An `up` or a preview: serves the program's registrations, then deletes what it no longer asks for."""

    def __init__(
        self,
        journal: Journal,
        providers: Providers,
        caller: Caller,
        *,
        stack: str,
        project: str,
        config: Mapping[str, str],
        dry_run: bool,
        continue_on_error: bool,
        targets: Targets,
        replaced: Targets,
    ) -> None:
        planner = Planner(journal, providers, caller.root, targets, replaced, dry_run=dry_run)
        super().__init__(journal, providers, caller, planner=planner, dry_run=dry_run)
        self.stack = stack
        self.project = project
        self.goals: dict[str, Goal] = {}
        self._config = config
        self._continue = continue_on_error
        self._targets = targets
        self._defaults: dict[str, str] = {}
        self._defaulting = threading.Lock()
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
        with self.planning:
            self.goals[goal.urn] = goal
            old = self.planner.claim(goal)
        if lost := [urn for urn in goal.resource({}).needs() if urn in self._lost]:
            self.emit(ResourceLog(goal.urn, "warning", f"skipped, because {lost[0]} failed or was skipped"))
            return self._lose(goal, old, "skipped")
        try:
            with self.planning:
                decision = self.planner.decide(goal, old)
            self._announce(decision)
            return self.carry_out(goal, decision)
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
        with self.planning:
            entry = self.entries.get(urn)
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
        with self.planning:
            entry = self.entries.get(urn)
            if entry is None or entry.now is None:
                raise StepError(f"unknown resource {urn}")
            return {"urn": urn, "id": str(entry.now.id), "state": entry.now.outputs}

    def finish(self) -> None:
        """The last phase, after the program is done: deletes what is left over. Failures are recorded."""
        with self.planning:
            if self._finished or self.draining.is_set():
                return
            self._finished = True
            condemned = self._left_over()
            self.planner.deletes |= {entry.urn for op, entry in condemned if op != "delete" or not entry.was.protect}
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

    def _failed(self, goal: Goal, old: Entry | None, error: str) -> Outcome:
        self.fail(goal.urn, error)
        outcome = self._lose(goal, old, "failed")
        if not self._continue:
            raise StepError(f"{goal.urn}: {error}")
        return outcome

    def _lose(self, goal: Goal, old: Entry | None, why: str) -> Outcome:
        with self.planning:
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
            elif not self.planner.operated(entry):
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
            self.instant(op, resource)
            return True
        if op == "delete" and resource.protect:
            self.fail(entry.urn, f"{entry.urn} is protected; remove protect from it before it can be deleted")
            return False
        spared = resource.deleted_with in self.planner.deletes
        try:
            self.delete(op, entry, dry_run=self.dry_run, spared=spared, after=None)
        except CancelledError:
            return False
        except EngineError as error:
            self.fail(entry.urn, str(error))
            return False
        return True
