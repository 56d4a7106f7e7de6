"""The step graph: what has to happen on which node, after what. Pure; Pulumi walks it, the command line draws it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from components.recipe import File, Recipe


@dataclass(frozen=True, slots=True)
class Step:
    """One action of one recipe on one node.

    `name` is `stage.action@node`, or `stage.ready` for a stage's gate: the only steps that other stages may be after,
    apart from `stage.configure@node` and what is about one node's part, like its entering the load balancer. `members`:
    other nodes whose rebuild invalidates this step (its `<action>_down` runs before they go). `secrets`: names the node
    must hold before this step. `timeout` in seconds.
    """

    name: str
    node: str
    recipe: Recipe
    action: str
    env: Mapping[str, str] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    secrets: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    members: frozenset[str] = frozenset()
    timeout: int = 600

    @property
    def stage(self) -> str:
        return self.name.partition(".")[0]

    @property
    def is_gate(self) -> bool:
        return "@" not in self.name

    def script(self) -> str:
        """The text for `bash -s <action>` on the node (stdin of its command)."""
        return self.recipe.script(self.name, self.env, self.files)


def on(recipe: Recipe, action: str, node: str) -> str:
    """The name of a step that is not a gate."""
    return f"{recipe.name}.{action}@{node}"


def contents(files: Iterable[File]) -> dict[str, str]:
    """A value for a `start` that `configure` placed the files for: it runs again when one of them changes."""
    text = "\0".join(f"{file.path}\0{file.content}" for file in files)
    return {"FILES": hashlib.sha256(text.encode()).hexdigest()[:16]}


def starts(recipe: Recipe, configure: Iterable[Step]) -> tuple[Step, ...]:
    """`start` after each `configure`: for services that nothing but systemd starts."""
    return tuple(
        Step(
            name=on(recipe, "start", step.node),
            node=step.node,
            recipe=recipe,
            action="start",
            env=contents(step.files),
            after=frozenset({step.name}),
        )
        for step in configure
    )


class GraphError(ValueError):
    """Steps that cannot be ordered: a missing or doubled name, or a cycle."""


@dataclass(frozen=True)
class StepGraph:
    """Steps by name, each after steps that exist, without cycles. Raises GraphError otherwise."""

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        if len(self.by_name) != len(self.steps):
            names = [step.name for step in self.steps]
            raise GraphError(f"doubled steps: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
        for step in self.steps:
            missing = step.after - self.by_name.keys()
            if missing:
                raise GraphError(f"{step.name} is after {', '.join(sorted(missing))}, which no stage has")
        try:
            self.topological()
        except CycleError as error:
            raise GraphError("cycle: " + " → ".join(reversed(error.args[1]))) from None

    @cached_property
    def by_name(self) -> dict[str, Step]:
        return {step.name: step for step in self.steps}

    def topological(self) -> tuple[Step, ...]:
        """Every step after all those it is after; stable for equal graphs."""
        order = TopologicalSorter({step.name: sorted(step.after) for step in self.steps})
        return tuple(self.by_name[name] for name in order.static_order())

    def waves(self) -> tuple[tuple[Step, ...], ...]:
        """Steps grouped by depth: each wave could run at once when all before it are done."""
        depth: dict[str, int] = {}
        for step in self.topological():
            depth[step.name] = 1 + max((depth[name] for name in step.after), default=-1)
        waves: list[list[Step]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
        for step in self.steps:
            waves[depth[step.name]].append(step)
        return tuple(tuple(wave) for wave in waves)

    def ancestors(self, name: str) -> frozenset[str]:
        """Every step that must be done before `name`."""
        found: set[str] = set()
        left = list(self.by_name[name].after)
        while left:
            current = left.pop()
            if current not in found:
                found.add(current)
                left.extend(self.by_name[current].after)
        return frozenset(found)

    def critical_path(self, seconds: Mapping[str, float] | None = None) -> tuple[Step, ...]:
        """The chain that takes longest by `seconds` per step name (1 where unknown), first to last."""
        weight = seconds or {}
        best: dict[str, tuple[float, str | None]] = {}
        for step in self.topological():
            before = max(((best[name][0], name) for name in step.after), default=(0.0, None))
            best[step.name] = (before[0] + weight.get(step.name, 1.0), before[1])
        chain: list[Step] = []
        current = max(best, key=lambda name: best[name][0], default=None)
        while current is not None:
            chain.append(self.by_name[current])
            current = best[current][1]
        return tuple(reversed(chain))


def merge(parts: Iterable[Iterable[Step]]) -> StepGraph:
    """One graph of all steps. Raises what StepGraph raises."""
    return StepGraph(tuple(step for part in parts for step in part))
