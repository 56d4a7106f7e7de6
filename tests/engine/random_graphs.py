"""Random programs: graphs of commands and groups with random options, and random changes to them."""

from __future__ import annotations

import copy
import random
from typing import Any

Graph = list[dict[str, Any]]


def first(rng: random.Random, size: int) -> Graph:
    """A graph of `size` resources; everything refers to earlier ones only."""
    graph: Graph = []
    for number in range(size):
        graph.append(_item(rng, f"r{number}", graph))
    return graph


def _item(rng: random.Random, name: str, earlier: Graph) -> dict[str, Any]:
    steps = [item["name"] for item in earlier if item.get("kind") != "group"]
    groups = [item["name"] for item in earlier if item.get("kind") == "group"]
    everything = [*steps, *groups]
    # Depending on a group means on all its children: one that something depends on takes no more of them.
    closed = {name for item in earlier for name in item.get("depends_on", [])}
    ancestors = {item["name"]: [item.get("parent")] for item in earlier}
    for item in earlier:
        ancestors[item["name"]] += ancestors.get(item.get("parent"), [])
        if item.get("parent") in closed:
            closed.add(item["name"])
    parents = [name for name in groups if name not in closed]

    def some(names: list[str], chance: float) -> list[str]:
        return sorted(rng.sample(names, min(len(names), rng.choice((1, 1, 2))))) if rng.random() < chance else []

    new: dict[str, Any] = {"name": name}
    if parents and rng.random() < 0.4:
        new["parent"] = rng.choice(parents)
    if rng.random() < 0.2:
        new["kind"] = "group"
        new["props"] = {"n": rng.randrange(2)}
    else:
        new["env"] = {"N": str(rng.randrange(2))}
        if rng.random() < 0.5:
            new["triggers"] = [rng.randrange(2)]
        if rng.random() < 0.4:
            new["delete_before_replace"] = rng.random() < 0.7
        if rng.random() < 0.3:
            new["value"] = rng.randrange(3)
        for key in ("uses", "triggers_from"):
            if chosen := some(steps, 0.35):
                new[key] = chosen
        if rng.random() < 0.15:
            new["retain_on_delete"] = True
        if rng.random() < 0.15:
            new["replace_on_changes"] = ["environment.N"]
        if steps and rng.random() < 0.2:
            new["replace_with"] = [rng.choice(steps)]
    own = {new.get("parent"), *ancestors.get(new.get("parent", ""), [])}
    if chosen := some([other for other in everything if other not in own], 0.3):
        new["depends_on"] = chosen
    if steps and rng.random() < 0.25:
        new["deleted_with"] = rng.choice(steps)
    return new


def changed(rng: random.Random, graph: Graph) -> Graph:
    """The graph with some inputs changed, some resources gone (and references to them), one added."""
    found = copy.deepcopy(graph)
    for item in found:
        if item.get("kind") == "group":
            item["props"] = {"n": rng.randrange(2)}
        elif rng.random() < 0.4:
            key = rng.choice(("env", "triggers", "value", "delete_before_replace"))
            new: Any = {"env": {"N": str(rng.randrange(4))}, "triggers": [rng.randrange(4)], "value": rng.randrange(9)}
            item[key] = new.get(key, rng.random() < 0.5)
    doomed = {item["name"] for item in found if rng.random() < 0.12}
    kept = [item for item in found if item["name"] not in doomed]
    for item in kept:
        for key in ("uses", "triggers_from", "depends_on", "replace_with"):
            if key in item:
                item[key] = [name for name in item[key] if name not in doomed]
                if not item[key]:
                    del item[key]
        for key in ("parent", "deleted_with"):
            if item.get(key) in doomed:
                del item[key]
    return [*kept, _item(rng, f"x{rng.randrange(10**6)}", kept)]
