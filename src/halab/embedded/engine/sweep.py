"""The runs that need no program: refresh reads every resource, destroy deletes every resource."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from halab.embedded.engine import paths, state, values
from halab.embedded.engine.checkpoint import now
from halab.embedded.engine.errors import CancelledError, EngineError
from halab.embedded.engine.events import MASK, Change
from halab.embedded.engine.journal import Entry, marked
from halab.embedded.engine.order import run_reversed
from halab.embedded.engine.run import Run
from halab.embedded.engine.state import Resource
from halab.embedded.provider import Call, Props


class Refresh(Run):
    """Takes over what the providers read; a resource they no longer find leaves the state.

    The next up replaces what went with it (deleted_with), and what was made of it (it has its outputs among its inputs
    and is replaced with it): a VM does not go on without its disk, nor do its steps count on another one.

    Steps: "refresh" with the changed outputs, "delete" for a resource that is gone, "same" for the rest.
    """

    def run(self) -> None:
        # What an interrupted delete did away with counts as deleted ahead of its replacement.
        self._lasting = {urn for kind, urn in self.journal.unfinished if kind == "deleting"}
        # An interrupted create has no id to read: the next up or destroy takes it back.
        self.journal.settle(("updating", "deleting", "reading"))
        self._gone: set[str] = set()
        self._lasting |= {
            urn
            for entry in self.journal.old
            for urns in entry.was.property_dependencies.values()
            for urn in urns
            if urn in entry.was.replace_with
        }
        wanted = [entry for entry in self.journal.old if self._readable(entry)]
        with ThreadPoolExecutor(max_workers=self.parallel, thread_name_prefix="refresh") as pool:
            list(pool.map(self._one, wanted))
        for entry in self.journal.old:
            resource = entry.now
            if resource is not None and resource.deleted_with in self._gone:
                self._gone.add(entry.urn)
                self.journal.amend(entry, marked(resource, pending_replacement=True))
        self.journal.commit()

    @staticmethod
    def _readable(entry: Entry) -> bool:
        resource = entry.now
        return (
            resource is not None
            and resource.custom
            and not resource.pending_replacement
            and not state.is_provider(resource.type)
        )

    def _one(self, entry: Entry) -> None:
        resource = entry.was

        def act(call: Call) -> Props | None:
            return self.providers.get(resource.provider).read(
                resource.type,
                call,
                resource.id,
                values.for_provider(resource.inputs, self.root),
                values.for_provider(resource.outputs, self.root),
            )

        def settle(outputs: Props | None) -> None:
            if outputs is None:
                self.planned("delete", resource.urn)
                self._gone.add(entry.urn)
                lasts = entry.urn in self._lasting
                self.journal.amend(entry, marked(resource, pending_replacement=True) if lasts else None)
                return
            fresh = values.make_secret(
                values.restore(values.restore(outputs, resource.inputs), resource.outputs),
                resource.additional_secret_outputs,
            )
            changes = _changes(resource, fresh)
            self.planned("refresh" if changes else "same", resource.urn, changes)
            if changes:
                self.journal.amend(entry, replace(resource, outputs=fresh, modified=now()))

        try:
            self.operate("refresh", None, resource, act, settle, resource.timeouts.get("read"))
        except CancelledError:
            return
        except EngineError as error:
            self.fail(resource.urn, str(error))


def _changes(resource: Resource, fresh: Props) -> dict[str, Change]:
    found: dict[str, Change] = {}
    for path, kind in paths.compare(resource.outputs, fresh):
        secret = paths.hides(resource.outputs, path) or paths.hides(fresh, path)
        shown = [
            None if value is paths.MISSING else MASK if secret else values.for_display(value)
            for value in (paths.get(resource.outputs, path), paths.get(fresh, path))
        ]
        found[paths.render(path)] = Change(kind.value, *shown)
    return found


class Destroy(Run):
    """Deletes everything in the state, dependents first, without running the program."""

    def run(self, *, continue_on_error: bool) -> None:
        self._continue = continue_on_error
        self.forget_unfinished()
        condemned = [entry for entry in self.journal.old if entry.now is not None]
        protected = [entry for entry in condemned if entry.was.protect]
        self._deletes = {entry.urn for entry in condemned if not entry.was.protect}
        for entry in condemned:
            self.planned("delete-replaced" if entry.was.delete else "delete", entry.urn)
        for entry in protected:
            self.fail(entry.urn, f"{entry.urn} is protected; remove protect in the program and run up first")
        run_reversed(condemned, self._one, self.parallel)
        if not self.failures and not self.draining.is_set():
            self.journal.settle(("creating", "updating", "deleting", "reading"))
        self.journal.commit()

    def _one(self, entry: Entry) -> bool:
        resource = entry.now
        if resource is None or resource.protect or self.draining.is_set():
            return False
        if self.failures and not self._continue:
            return False
        spared = resource.deleted_with in self._deletes or resource.pending_replacement
        op = "delete-replaced" if resource.delete else "delete"
        try:
            self.delete(op, entry, dry_run=False, spared=spared, after=None)  # type: ignore[arg-type]
        except CancelledError:
            return False
        except EngineError as error:
            self.fail(resource.urn, str(error))
            return False
        return True
