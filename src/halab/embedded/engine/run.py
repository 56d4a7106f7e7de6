"""What every kind of run shares: provider operations between durable notes, events, cancelling, the summary."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from halab.embedded.engine import state, values
from halab.embedded.engine.checkpoint import Pending
from halab.embedded.engine.errors import CancelledError, EngineError, StepError
from halab.embedded.engine.events import (
    Change,
    Diagnostic,
    Event,
    Failure,
    Op,
    Planned,
    PropertyDiff,
    ResourceFinished,
    ResourceLog,
    ResourceStarted,
    Severity,
    Summary,
)
from halab.embedded.engine.journal import Entry, Journal
from halab.embedded.engine.providers import Providers
from halab.embedded.engine.state import Resource
from halab.embedded.provider import Call, ProviderError, Recovers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """What a run has of the one who starts it.

    `parallel`: provider operations at once; `root`: the project's folder, which relative paths are from. `draining`
    stops new operations, `aborting` also asks those under way to give up.
    """

    emit: Callable[[Event], None]
    parallel: int
    root: Path
    draining: threading.Event
    aborting: threading.Event


class Run:
    """What every kind of run shares: events, the parallel limit, cancelling, the record for the summary."""

    def __init__(self, journal: Journal, providers: Providers, caller: Caller) -> None:
        self.journal = journal
        self.providers = providers
        self.root = caller.root
        self.parallel = max(caller.parallel, 1)
        self.draining = caller.draining
        self.aborting = caller.aborting
        self.closed = threading.Event()
        self.failures: list[Failure] = []
        self._emit = caller.emit
        self._emitting = threading.Lock()
        self._steps: list[tuple[Op, str, PropertyDiff]] = []
        self._slots = threading.Semaphore(self.parallel)

    def emit(self, event: Event) -> None:
        with self._emitting:
            self._emit(event)

    def planned(self, op: Op, urn: str, diff: Mapping[str, Change] | None = None) -> None:
        """Records and reports a step; default providers stay out of sight."""
        if state.is_default_provider(urn):
            return
        with self._emitting:
            self._steps.append((op, urn, diff or {}))
            self._emit(Planned(op, urn, diff or {}))

    def fail(self, urn: str, error: str) -> None:
        with self._emitting:
            self.failures.append(Failure(urn, error))

    def summary(self, started: float, outputs: Mapping[str, Any]) -> Summary:
        counts = Counter(op for op, _, _ in self._steps)
        return Summary(
            counts={str(op): count for op, count in counts.items()},
            steps=tuple(self._steps),
            failures=tuple(self.failures),
            seconds=time.monotonic() - started,
            cancelled=self.draining.is_set(),
            outputs=outputs,
        )

    def operate(
        self,
        op: Op,
        kind: Pending | None,
        resource: Resource,
        act: Callable[[Call], T],
        settle: Callable[[T], None],
        timeout: float | None,
    ) -> None:
        """Calls a provider between two durable notes in the journal; `settle` puts the result into it.

        With `kind` None (reads) nothing is noted beforehand: an interrupted one leaves nothing to know.

        Raises: StepError when the provider failed, CancelledError when the run no longer starts anything.
        """
        with self._slots:
            if self.draining.is_set() or self.closed.is_set():
                raise CancelledError(f"{op} of {resource.urn} was not started: the run was cancelled")
            self._operate(op, kind, resource, act, settle, timeout)

    def _operate(
        self,
        op: Op,
        kind: Pending | None,
        resource: Resource,
        act: Callable[[Call], T],
        settle: Callable[[T], None],
        timeout: float | None,
    ) -> None:
        urn = resource.urn
        visible = not state.is_default_provider(urn)
        key = None if kind is None else self.journal.begin(kind, resource)
        self.journal.commit()
        if visible:
            self.emit(ResourceStarted(op, urn, resource.type, resource.name, time.time()))
        begun = time.monotonic()

        def log(severity: str, line: str) -> None:
            known: Severity = severity if severity in ("debug", "info", "warning", "error") else "info"  # type: ignore[assignment]
            self.emit(ResourceLog(urn, known, line))

        error, uncertain = "", False
        try:
            result = act(Call(urn, timeout, log, self.aborting))
            # A checkpoint that has both the result and the operation would make the next run undo the result.
            with self.journal.at_once() if key is not None else nullcontext():
                settle(result)
                if key is not None:
                    self.journal.end(key)
        except (EngineError, ProviderError) as raised:
            error = str(raised) or type(raised).__name__
            uncertain = isinstance(raised, ProviderError) and raised.uncertain
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
            log("debug", traceback.format_exc())
        if error and key is not None:
            self.journal.end(key, uncertain=uncertain)
        self.journal.commit()
        if visible:
            self.emit(ResourceFinished(op, urn, not error, error, time.monotonic() - begun))
        if error:
            raise StepError(error)

    def delete(self, op: Op, entry: Entry, *, dry_run: bool, spared: bool, after: Resource | None) -> None:
        """Deletes what stands at an entry; `spared` skips the provider; `after` is what the state then holds.

        Raises: StepError when the provider failed.
        """
        resource = entry.now
        if resource is None:
            return

        def settle(_: None) -> None:
            self.journal.amend(entry, after)

        logical = spared or not resource.custom or resource.external or resource.retain_on_delete
        if dry_run or logical or state.is_provider(resource.type):
            settle(None)
            if not dry_run:
                self.emit_instant(op, resource)
            return

        def act(call: Call) -> None:
            self.providers.get(resource.provider).delete(
                resource.type,
                call,
                resource.id,
                values.for_provider(resource.inputs, self.root),
                values.for_provider(resource.outputs, self.root),
            )

        self.operate(op, "deleting", resource, act, settle, resource.timeouts.get("delete"))

    def take_back(self, urn: str) -> None:
        """Removes what an interrupted create of an earlier run may have left, and tells about it.

        Raises: StepError when the provider failed.
        """
        resource = self.journal.interrupted_create(urn)
        if resource is None:
            return
        provider = self.providers.get(resource.provider) if self.providers.knows(resource.provider) else None
        if not isinstance(provider, Recovers):
            text = f"{urn} was being created when an earlier run ended; if it exists, nothing here knows of it"
            self.emit(Diagnostic("warning", text))
            return
        self.emit(Diagnostic("info", f"taking back what an interrupted run may have left of {urn}"))

        def log(severity: str, line: str) -> None:
            self.emit(ResourceLog(urn, "info" if severity == "debug" else severity, line))

        timeout = resource.timeouts.get("delete")
        try:
            provider.take_back(
                resource.type, Call(urn, timeout, log, self.aborting), values.for_provider(resource.inputs, self.root)
            )
        except ProviderError as error:
            raise StepError(f"taking back what an interrupted create left: {error}") from error

    def forget_unfinished(self) -> None:
        """What an earlier run was creating and nobody asks for any more is taken back and forgotten."""
        for kind, urn in self.journal.unfinished:
            if kind == "creating":
                try:
                    self.take_back(urn)
                except EngineError as error:
                    self.fail(urn, str(error))
                    continue
                self.journal.settle((kind,), urn)

    def emit_instant(self, op: Op, resource: Resource) -> None:
        """Makes a step without a provider operation durable and reports it."""
        self.journal.commit()
        if not state.is_default_provider(resource.urn):
            self.emit(ResourceStarted(op, resource.urn, resource.type, resource.name, time.time()))
            self.emit(ResourceFinished(op, resource.urn, True, "", 0.0))
