"""The journal of one run over a state: what is left of the old, what is new, what is under way, all made durable."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from halab.embedded.engine import paths
from halab.embedded.engine.checkpoint import Loaded, Pending, Sealer, Store
from halab.embedded.engine.references import in_order, without_dangling
from halab.embedded.engine.state import Resource


class Entry:
    """A place in the state: the resource that stands there now, or None once it is gone."""

    __slots__ = ("now", "was")

    def __init__(self, resource: Resource) -> None:
        self.was = resource
        self.now: Resource | None = resource

    @property
    def urn(self) -> str:
        return self.was.urn


class Journal:
    """The state during one run: what is left of the old, what is new, what is under way. Safe from many threads.

    A mutation becomes durable with the next `commit`; commits that arrive while one is being written share the
    following write. With no store (a preview) nothing is written.
    """

    def __init__(self, loaded: Loaded, store: Store | None, sealer: Sealer) -> None:
        doubtful = {resource.urn for kind, resource in loaded.pending if kind in ("updating", "deleting")}
        self.old = [Entry(_doubted(one) if one.urn in doubtful else one) for one in loaded.resources]
        self.new: list[Entry] = []
        self._carried = {(kind, resource.urn): resource for kind, resource in loaded.pending}
        self._running: dict[tuple[Pending, str, int], Resource] = {}
        self._store = store
        self._sealer = sealer
        self._condition = threading.Condition()
        self._wanted = 0
        self._written = 0
        self._writing = False
        self._dirty = False

    @property
    def unfinished(self) -> list[tuple[Pending, str]]:
        """(kind, URN) of operations that an earlier run began and never finished."""
        with self._condition:
            return list(self._carried)

    def interrupted_create(self, urn: str) -> Resource | None:
        """The state an earlier run was creating at a URN when it died, None when there was no such thing."""
        with self._condition:
            return self._carried.get(("creating", urn))

    def settle(self, kinds: Sequence[Pending], urn: str = "") -> None:
        """Forgets unfinished operations of an earlier run of these kinds, all of them or those of one URN."""
        with self._condition:
            for key in [key for key in self._carried if key[0] in kinds and urn in ("", key[1])]:
                del self._carried[key]
                self._dirty = True

    def add(self, resource: Resource, instead: Entry | None = None) -> Entry:
        """A new resource; the old entry it takes the place of is gone."""
        with self._condition:
            entry = Entry(resource)
            self.new.append(entry)
            if instead is not None:
                instead.now = None
            self._carried.pop(("creating", resource.urn), None)
            self._dirty = True
            return entry

    def carry(self, old: Entry, resource: Resource) -> tuple[Entry, bool]:
        """An unchanged resource moves to the new part; says whether anything worth writing differs."""
        with self._condition:
            before = old.now
            changed = before is None or not _equal(before, resource)
            entry = Entry(resource if changed or before is None else before)
            self.new.append(entry)
            old.now = None
            self._dirty |= changed
            return entry, changed

    def amend(self, entry: Entry, resource: Resource | None) -> None:
        """Replaces what stands at an entry; None removes it."""
        with self._condition:
            entry.now = resource
            self._dirty = True

    def holds(self, urn: str) -> bool:
        """Whether the old state still has a resource of this URN that was not deleted."""
        with self._condition:
            present = [entry.now for entry in self.old if entry.urn == urn and entry.now is not None]
            return any(not (resource.delete or resource.pending_replacement) for resource in present)

    def begin(self, kind: Pending, resource: Resource) -> tuple[Pending, str, int]:
        """Records that a provider is about to be called; returns the key for `end`."""
        with self._condition:
            key = (kind, resource.urn, id(resource))
            self._running[key] = resource
            self._dirty = True
            return key

    def end(self, key: tuple[Pending, str, int], *, uncertain: bool = False) -> None:
        """The provider has answered; `uncertain`: nobody knows with what effect, so the next run must look."""
        with self._condition:
            kind, urn, _ = key
            resource = self._running.pop(key, None)
            if uncertain and resource is not None:
                self._carried[kind, urn] = resource
            self._dirty = True

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """No commit of another thread sees only a part of what is done inside."""
        with self._condition:
            yield

    def resources(self) -> list[Resource]:
        """Everything in the state now, in an order a checkpoint may have."""
        with self._condition:
            return self._resources()

    def _resources(self) -> list[Resource]:
        present = [entry.now for entry in (*self.new, *self.old) if entry.now is not None]
        return without_dangling(in_order(present))

    def commit(self, *, force: bool = False) -> None:
        """Returns once every mutation so far is on disk.

        Raises: StateError when it cannot be written.
        """
        if self._store is None:
            return
        with self._condition:
            if not (self._dirty or force or self._writing or self._written < self._wanted):
                return
            self._wanted += 1
            mine = self._wanted
            while self._written < mine:
                if self._writing:
                    self._condition.wait()
                    continue
                self._writing = True
                upto, self._dirty = self._wanted, False
                resources = self._resources()
                pending = [
                    *((kind, resource) for (kind, _), resource in self._carried.items()),
                    *((key[0], resource) for key, resource in self._running.items()),
                ]
                self._condition.release()
                try:
                    self._store.write(self._sealer, resources, pending)
                except BaseException:
                    self._condition.acquire()
                    self._writing, self._dirty = False, True
                    self._condition.notify_all()
                    raise
                self._condition.acquire()
                self._writing = False
                self._written = upto
                self._condition.notify_all()


def _equal(before: Resource, after: Resource) -> bool:
    """Whether two states of a resource would be stored alike, fields the engine does not use aside."""
    if before is after:
        return True
    for name in Resource.__dataclass_fields__:
        if name == "extra":
            continue
        a, b = getattr(before, name), getattr(after, name)
        if name == "dependencies":
            a, b = sorted(a), sorted(b)
        elif name == "property_dependencies":
            a = {key: sorted(urns) for key, urns in a.items()}
            b = {key: sorted(urns) for key, urns in b.items()}
        if not paths.same(a, b):
            return False
    return True


def _doubted(resource: Resource) -> Resource:
    """A resource whose update or delete was cut off: nobody knows what was done of it, so it is to be updated."""
    cut = "an earlier run ended while this was being changed"
    return resource if resource.pending_replacement or resource.delete else replace(resource, init_errors=(cut,))


def marked(resource: Resource, *, delete: bool = False, pending_replacement: bool = False) -> Resource:
    """The resource marked for deletion after its replacement, or as deleted ahead of it."""
    return replace(resource, delete=delete, pending_replacement=pending_replacement)
