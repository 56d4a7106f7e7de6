"""A whole cloud: built cold, brought back from a snapshot, forked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection
from typing import Any, Literal

from halab.bench.figures import Figure, Result
from halab.bench.lab import CHECKOUT, Lab

Baseline = Literal["serial", "computed"]
Tell = Callable[[str], None]

#: Cold, neither from a golden cloud nor kept as one; the fence proof is no part of building.
_UP = ("--fresh", "--no-golden", "--no-fence-proof", "--json")
#: Seconds in which a cloud that was brought back must give a token.
_TOKEN_LIMIT = 300.0
_COLD = "built cold, images cached, until a token"


def run(lab: Lab, names: Collection[str], baseline: Baseline, repeat: int, tell: Tell) -> list[Result]:
    """`names`: which of up, restore and fork; the last two share one cold up, which is their baseline too."""
    results: list[Result] = []
    cold: list[dict[str, Any]] = []
    for turn in range(repeat if "up" in names else 1):
        tell(f"cold up, {turn + 1} of {repeat if 'up' in names else 1}")
        if turn:
            lab.run("down")
        cold.append(lab.run("up", *_UP).json())
    if set(names) & {"restore", "fork"}:
        results += _back(lab, names, cold[-1], repeat, tell)
    if "up" in names:
        results[:0] = _up(lab, cold, baseline, repeat, tell)
    return results


def _up(lab: Lab, cold: list[dict[str, Any]], baseline: Baseline, repeat: int, tell: Tell) -> list[Result]:
    whole = Figure("./halab up, cold, images cached, verified; without the fence proof", _seconds(cold, _whole))
    build = Figure("its build: VMs and steps, in parallel wherever no order is needed", _seconds(cold, _build))
    times = cold[-1]["times"]
    details = {"times": times, "parts": cold[-1]["parts"]}
    notes = (
        f"efficiency {times['efficiency']:.2f}: critical path {times['chained']:.2f} of the build"
        + (f", cores busy {times['busy']:.2f}" if times["busy"] is not None else ""),
    )
    if baseline == "computed":
        total = Figure(
            "the sum of what this run's own steps took", tuple(one["times"]["total"] for one in cold), measured=False
        )
        hint = "the sum is no measurement: steps that ran beside others took longer for it; --baseline serial runs it"
        return [Result("up", whole, ()), Result("up: build", build, (total,), (*notes, hint), details)]
    serial: list[dict[str, Any]] = []
    for turn in range(repeat):
        lab.run("down")
        tell(f"the same steps one after another, {turn + 1} of {repeat}")
        serial.append(lab.run("up", *_UP, "--parallel", "1").json())
    one_by_one = "the same, one step after another (--parallel 1)"
    return [
        Result("up", whole, (Figure(one_by_one, _seconds(serial, _whole)),)),
        Result("up: build", build, (Figure(one_by_one, _seconds(serial, _build)),), notes, details),
    ]


def _seconds(documents: list[dict[str, Any]], of: Callable[[dict[str, Any]], float]) -> tuple[float, ...]:
    return tuple(of(document) for document in documents)


def _whole(document: dict[str, Any]) -> float:
    return float(document["seconds"])


def _build(document: dict[str, Any]) -> float:
    return float(document["parts"]["build"])


def _token(lab: Lab, stack: str) -> float:
    """Seconds that a token through the VIP let itself be waited for."""
    return lab.execute([sys.executable, "-m", "halab.bench.token", stack, f"{_TOKEN_LIMIT:.0f}"]).seconds


def _back(lab: Lab, names: Collection[str], cold: dict[str, Any], repeat: int, tell: Tell) -> list[Result]:
    """Of a cloud that is up. What a restore replaces is the build alone: verification is left out of both."""
    built = sum(cold["parts"].get(part, 0.0) for part in ("host", "images", "hypervisor", "build"))
    beside = Figure(_COLD, (built + _token(lab, lab.stack),))
    snapshot = f"bench-{time.time():.0f}"
    tell("saving the cloud")
    saved = lab.execute([*lab.group("snapshot", "save"), snapshot, "--json"])
    ways = {"restore": _restore, "fork": _fork}
    results = []
    try:
        for name in ways:
            if name in names:
                found: list[tuple[float, dict[str, Any]]] = []
                for turn in range(repeat):
                    tell(f"{name}, {turn + 1} of {repeat}")
                    found.append(ways[name](lab, snapshot))
                details = {"save": saved.json(), "parts": [document["parts"] for _, document in found]}
                figure = Figure(_UNTIL[name], tuple(seconds for seconds, _ in found))
                note = f"the save before took {saved.seconds:.1f} s"
                results.append(Result(name, figure, (beside,), (note,), details))
    finally:
        lab.execute([*lab.group("snapshot", "rm"), snapshot])
    return results


_UNTIL = {
    "restore": "./halab snapshot restore, until a keystone token through the VIP",
    "fork": "./halab fork, until a token through the copy's VIP, the original running",
}


def _restore(lab: Lab, snapshot: str) -> tuple[float, dict[str, Any]]:
    back = lab.execute([*lab.group("snapshot", "restore"), snapshot, "--json"])
    return back.seconds + _token(lab, lab.stack), back.json()


def _fork(lab: Lab, snapshot: str) -> tuple[float, dict[str, Any]]:
    copy = f"{lab.stack}-2"
    file = lab.project / "stacks" / f"Pulumi.{copy}.yaml"
    # a bench that was killed may have left one
    file.unlink(missing_ok=True)
    try:
        made = lab.execute(
            [str(CHECKOUT / "halab"), "fork", lab.stack, copy, "--snapshot", snapshot, "--overcommit", "--json"]
        )
        return made.seconds + _token(lab, copy), made.json()
    finally:
        if file.exists():
            lab.run("down", stack=copy)
        file.unlink(missing_ok=True)
