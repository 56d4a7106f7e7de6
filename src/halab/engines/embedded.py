"""halab's own engine as a runner."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from halab.embedded.engine.engine import Engine
from halab.embedded.engine.events import Event, Summary
from halab.embedded.providers import providers
from halab.engines import PARALLEL, OnEvent
from halab.workspace import Workspace


class Embedded:
    """halab's own engine."""

    name: Literal["cli", "embedded"] = "embedded"

    def __init__(
        self,
        workspace: Workspace,
        uri: str,
        environment: Mapping[str, str],
        *,
        keep: bool = True,
        parallel: int = PARALLEL,
    ) -> None:
        """Without `keep` nothing is written on disk, for a preview."""
        self._sink: OnEvent = lambda event: None
        self._engine = Engine(
            workspace.project,
            workspace.stack,
            workspace.engine_state / ".pulumi" / "stacks",
            workspace.passphrase(keep=keep),
            providers(uri),
            parallel=parallel,
            on_event=self._pass,
            python=sys.executable,
            env=environment,
        )

    def _pass(self, event: Event) -> None:
        self._sink(event)

    def preview(self, on_event: OnEvent, target: Sequence[str] = (), replace: Sequence[str] = ()) -> Summary:
        self._sink = on_event
        return self._engine.preview(target=target, replace=replace)

    def up(self, on_event: OnEvent, target: Sequence[str] = (), replace: Sequence[str] = ()) -> Summary:
        self._sink = on_event
        return self._engine.up(target=target, replace=replace)

    def refresh(self, on_event: OnEvent) -> Summary:
        self._sink = on_event
        return self._engine.refresh()

    def destroy(self, on_event: OnEvent) -> Summary:
        self._sink = on_event
        return self._engine.destroy()

    def outputs(self) -> Mapping[str, Any]:
        return self._engine.outputs()

    def resources(self) -> list[Mapping[str, Any]]:
        return list(self._engine.export().get("deployment", {}).get("resources") or [])

    def cancel(self) -> None:
        self._engine.cancel()

    def clear(self) -> None:
        """Replace the state by one without resources."""
        self._engine.import_({"version": 3, "deployment": {"resources": []}})
