"""The order of deletions: a resource goes only after everything that needs it is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from halab.embedded.engine.journal import Entry


def blockers(entries: Sequence[Entry]) -> list[set[int]]:
    """For each entry, the indices of those it needs. Entries are in state order, so needs point backwards."""
    at: dict[str, list[int]] = {}
    found: list[set[int]] = []
    for index, entry in enumerate(entries):
        found.append({i for urn in entry.was.needs() for i in at.get(urn, ())})
        at.setdefault(entry.urn, []).append(index)
    return found


def run_reversed(entries: Sequence[Entry], act: Callable[[Entry], bool], parallel: int) -> None:
    """Calls `act` on every entry, dependents first, independent ones at once.

    An entry whose `act` returned False keeps everything it needs, directly or not, from being called. What `act`
    raises ends the run: nothing new starts, and it is raised here once the calls under way have ended.
    """
    needs = blockers(entries)
    waiting = [0] * len(entries)
    for each in needs:
        for index in each:
            waiting[index] += 1
    spoiled = [False] * len(entries)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    done: list[int] = []
    raised: list[BaseException] = []
    condition = threading.Condition()

    def work() -> None:
        while True:
            with condition:
                condition.wait_for(lambda: ready or len(done) == len(entries) or raised)
                if len(done) == len(entries) or raised:
                    return
                index = ready.pop()
                skip = spoiled[index]
            good = False
            try:
                good = not skip and act(entries[index])
            except BaseException as error:
                with condition:
                    raised.append(error)
                    condition.notify_all()
                return
            with condition:
                done.append(index)
                for other in needs[index]:
                    spoiled[other] |= not good
                    waiting[other] -= 1
                    if waiting[other] == 0:
                        ready.append(other)
                condition.notify_all()

    workers = [threading.Thread(target=work, name=f"delete-{n}") for n in range(min(parallel, len(entries)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if raised:
        raise raised[0]
