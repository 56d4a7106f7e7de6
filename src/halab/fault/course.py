"""One fault from a cloud that is well to a cloud that is well again, and the notes taken on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from halab.errors import HalabError
from halab.fault.faults import Fault, Scene
from halab.fault.outage import STEADY, Sample, steady, streak
from halab.fault.power import Vm
from halab.fault.probe import Loop

#: Seconds for the probes to answer before the fault; and of answers only, which the fault's are compared with.
_CALM_LIMIT, CALM = 180.0, 20.0
#: Seconds between two looks at the VMs, which cost this host a little, and at the cloud, which cost each guest more.
_TICK, _LOOK = 1.0, 10.0
#: Seconds that clients have to find the way round a fault that is not healed by the cluster, before a person does it.
_HANDS = 60.0


@dataclass(frozen=True, slots=True)
class Look:
    """How the cloud looked: `problem` is "" when it was well.

    `breach`: what must never be, however short, "" if it is not.
    """

    problem: str = ""
    breach: str = ""

    @property
    def well(self) -> bool:
        return not self.problem


@dataclass
class Course:
    """Seconds count from the fault. `fenced`: until each node that was off, or was turned off, ran again; `steady`:
    until all probes had their last outage behind them; `well`: until the cloud looked well for good, None if it never
    did; `hands`: what a person would have had to do; `breaches`: what must never be, and was.
    """

    victims: tuple[str, ...] = ()
    events: list[tuple[float, str]] = field(default_factory=list)
    fenced: dict[str, float] = field(default_factory=dict)
    steady: float | None = None
    well: float | None = None
    ended: float = 0.0
    hands: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    problem: str = ""


class Conductor:
    """Carries one fault out. `settle`: seconds from which on a cloud that looks well is believed: until then it may
    not have noticed. `limit`: seconds for all to be well again."""

    def __init__(
        self,
        fault: Fault,
        loop: Loop,
        look: Callable[[], Awaitable[Look]],
        vms: Callable[[], Mapping[str, Vm]],
        *,
        settle: float,
        limit: float,
        calm: float = CALM,
        tell: Callable[[float, str], None] = lambda at, what: None,
    ) -> None:
        self._fault, self._loop, self._look, self._vms, self._tell = fault, loop, look, vms, tell
        self._settle, self._limit, self._calm = settle, limit, calm
        self._zero = 0.0
        self._looks: list[tuple[float, Look]] = []
        self.course = Course()

    @property
    def zero(self) -> float:
        """time.monotonic() of the fault."""
        return self._zero

    def strike(self, what: str) -> None:
        self._zero = time.monotonic()
        self._note(what)

    async def calm(self) -> None:
        """Returns when every probe has had nothing but answers for `calm` seconds. Raises HalabError at the limit."""
        began = time.monotonic()
        while True:
            now = time.monotonic()
            bad = sorted(name for name, samples in self._loop.samples().items() if not self._quiet(samples, now))
            if now - began >= self._calm and not bad:
                return
            if now - began > _CALM_LIMIT:
                raise HalabError(
                    f"{', '.join(bad)}: not answered for {self._calm:.0f} s on end within {_CALM_LIMIT:.0f} s, before "
                    f"the fault; last: {self._last_problem(bad)}; see ./halab status"
                )
            await asyncio.sleep(_TICK)

    def _quiet(self, samples: Iterable[Sample], now: float) -> bool:
        recent = [sample for sample in samples if sample.at >= now - self._calm]
        return len(recent) >= STEADY and all(sample.ok for sample in recent)

    def _last_problem(self, names: Iterable[str]) -> str:
        samples = self._loop.samples()
        problems = [sample.problem for name in names for sample in samples[name] if not sample.ok]
        return problems[-1] if problems else "too slow"

    async def carry_out(self, scene: Scene) -> Course:
        """From the blow until all is well, or the limit: then `problem` says what is not."""
        before = await asyncio.to_thread(self._vms)
        self.course.victims = await self._fault.inject(scene)
        watching = asyncio.create_task(self._look_on())
        healed = False
        try:
            while self._now() < self._limit:
                with suppress(HalabError):  # a busy libvirt may miss one question
                    self._watch(before, await asyncio.to_thread(self._vms))
                calm = self._probes_steady()
                if not healed and (calm or self._now() > _HANDS):
                    healed = True
                    await self._heal(scene)
                if watching.done():
                    watching.result()
                if calm and self._is_well():
                    self._note("all is well")
                    return self.course
                await asyncio.sleep(_TICK)
        finally:
            watching.cancel()
            self.course.ended = round(self._now(), 1)
        failing = self._failing()
        last = self._looks[-1][1].problem if self._looks else "nothing"
        seen = f"not answered: {', '.join(failing)}" if failing else last
        self.course.problem = f"waited {self._limit:.0f} s for all to be well; seen: {seen}"
        return self.course

    async def _heal(self, scene: Scene) -> None:
        if self._fault.heal is None:
            return
        try:
            if told := await self._fault.heal(scene, self.course.victims):
                self._by_hand(told)
        except HalabError as error:
            self._note(f"by hand, in vain: {error}")

    async def _look_on(self) -> None:
        """Looks at the cloud while the probes are answered; never ends by itself."""
        while True:
            if self._failing():
                await asyncio.sleep(_TICK)
                continue
            at = self._now()
            try:
                look = await self._look()
            except HalabError as error:
                look = Look(str(error))
            self._looks.append((at, look))
            if not look.well:
                self._note(look.problem)
            if look.breach and look.breach not in self.course.breaches:
                self.course.breaches.append(look.breach)
            await asyncio.sleep(_LOOK)

    def _now(self) -> float:
        return time.monotonic() - self._zero

    def _note(self, what: str) -> None:
        at = self._now()
        if not self.course.events or self.course.events[-1][1] != what:
            self.course.events.append((round(at, 1), what))
            self._tell(at, what)

    def _by_hand(self, what: str) -> None:
        self.course.hands.append(what)
        self._note(f"by hand: {what}")

    def _watch(self, before: Mapping[str, Vm], now: Mapping[str, Vm]) -> None:
        for node, vm in now.items():
            if vm.runs and vm.id != before[node].id and node not in self.course.fenced:
                self.course.fenced[node] = round(self._now(), 1)
                self._note(f"{node} runs anew")

    def _failing(self) -> list[str]:
        samples = self._loop.samples(self._zero)
        return sorted(name for name, one in samples.items() if not steady(one, 0.0))

    def _probes_steady(self) -> bool:
        if self._failing():
            self.course.steady = None
            return False
        if self.course.steady is None:
            self.course.steady = round(self._now(), 1)
            self._note("all probes are answered")
        return True

    def _is_well(self) -> bool:
        well = streak((at, look.well) for at, look in self._looks)
        self.course.well = None if well is None else round(well, 1)
        return well is not None and self._looks[-1][0] >= self._settle


def settle(token: float, monitor: float) -> float:
    """Seconds within which a cluster notices: corosync's token and consensus, or the longest monitor and a few more."""
    return max(2.2 * token, monitor + 10.0)
