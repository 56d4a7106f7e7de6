"""A project in a temporary directory and the engine over it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halab.embedded.engine import Engine, Event, Planned, Summary
from halab.embedded.provider import Provider
from tests.engine.local_command import LocalCommand

PROGRAMS = Path(__file__).with_name("programs")
PASSPHRASE = "correct horse"
STACK = "test"


@dataclass
class Lab:
    """One project; `write` sets its graph, the engine's runs follow, `log` tells what the commands did."""

    directory: Path
    program: str = "graph"
    state_dir: str = "state"
    config: dict[str, Any] = field(default_factory=dict)
    salt: str = ""
    events: list[Event] = field(default_factory=list)
    provider: LocalCommand | None = None
    factory: Callable[[], Provider] | None = None
    on_event: Any = None

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "stacks").mkdir(exist_ok=True)
        shutil.copy(PROGRAMS / f"{self.program}.py", self.directory / "__main__.py")
        (self.directory / "Pulumi.yaml").write_text("name: lab\nruntime: python\nstackConfigDir: stacks\n")
        self.configure(self.config)

    def configure(self, config: dict[str, Any]) -> None:
        tree: dict[str, Any] = {"config": {f"lab:{key}": value for key, value in config.items()}}
        if self.salt:
            tree["encryptionsalt"] = self.salt
        (self.directory / "stacks" / f"Pulumi.{STACK}.yaml").write_text(json.dumps(tree))

    def write(self, *resources: dict[str, Any], **rest: Any) -> None:
        """The program's graph: resources in the order they are registered."""
        spec = {"log": str(self.directory / "log"), "resources": list(resources), **rest}
        (self.directory / "graph.json").write_text(json.dumps(spec))

    def engine(self, passphrase: str = PASSPHRASE, **rest: Any) -> Engine:
        def factory() -> LocalCommand:
            self.provider = LocalCommand(self.directory)
            return self.provider

        def record(event: Event) -> None:
            self.events.append(event)
            if self.on_event is not None:
                self.on_event(event)

        return Engine(
            self.directory,
            STACK,
            self.directory / self.state_dir,
            passphrase,
            {"command": self.factory or factory},
            on_event=record,
            **rest,
        )

    def up(self, **options: Any) -> Summary:
        return self.engine().up(**options)

    def good_up(self, **options: Any) -> dict[str, str]:
        """`up` that must succeed; returns name -> op for everything but "same"."""
        summary = self.up(**options)
        assert summary.ok, summary.failures
        return ops(summary)

    def log(self) -> list[str]:
        """What the commands did since the last call."""
        file = self.directory / "log"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def state(self) -> dict[str, Any]:
        file = self.directory / self.state_dir / "lab" / f"{STACK}.json"
        found: dict[str, Any] = json.loads(file.read_text())["checkpoint"]["latest"]
        return found

    def resource(self, name: str) -> dict[str, Any]:
        found = [r for r in self.state()["resources"] if r["urn"].endswith(f"::{name}") and not r.get("delete")]
        assert len(found) == 1, (name, found)
        one: dict[str, Any] = found[0]
        return one

    def names(self) -> list[str]:
        """The names of everything in the state but the Stack and default providers, in state order."""
        return [
            r["urn"].rpartition("::")[2]
            for r in self.state()["resources"]
            if r["type"] != "pulumi:pulumi:Stack" and "::default" not in r["urn"]
        ]

    def set(self, flag: str) -> None:
        (self.directory / flag).touch()

    def clear(self, flag: str) -> None:
        (self.directory / flag).unlink()


def ops(summary: Summary) -> dict[str, str]:
    """name -> op for everything that is not the same; a replacement is "replace"."""
    found: dict[str, str] = {}
    for op, urn, _ in summary.steps:
        if op in ("same", "create-replacement", "delete-replaced"):
            continue
        found[urn.rpartition("::")[2]] = op
    return found


def counted(summary: Summary) -> Counter[tuple[str, str]]:
    """(op, name) with multiplicity, everything included."""
    return Counter((op, urn.rpartition("::")[2]) for op, urn, _ in summary.steps)


def planned(events: list[Event]) -> list[tuple[str, str]]:
    return [(e.op, e.urn) for e in events if isinstance(e, Planned)]
