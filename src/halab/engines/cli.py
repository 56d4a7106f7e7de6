"""The Pulumi CLI as a runner; what it did is read from its event log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from halab.embedded.engine.events import Diagnostic, Event, Failure, ResourceFinished, ResourceStarted, Summary
from halab.engines import PARALLEL, OnEvent
from halab.engines.embedded import Embedded
from halab.errors import HalabError
from halab.host import pulumi_cli
from halab.workspace import Workspace, write_text

_FAILED = "resOpFailedEvent"


def _limits(target: Sequence[str], replace: Sequence[str]) -> list[str]:
    chosen = (("--target", one) for one in target), (("--replace", one) for one in replace)
    return [word for flags in chosen for flag, one in flags for word in (flag, _pattern(one))]


def _pattern(name: str) -> str:
    return name if name.startswith("urn:") else f"**::{name}"


def _quiet() -> dict[str, str]:
    return {
        **os.environ,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_ERROR_OUTPUT_STRING": "true",
    }


class PulumiCli:
    """The Pulumi CLI, with its own display on this terminal and the state where the embedded engine has it too."""

    name: Literal["cli", "embedded"] = "cli"

    def __init__(self, workspace: Workspace, environment: Mapping[str, str], parallel: int = PARALLEL) -> None:
        self._workspace, self._parallel = workspace, parallel
        self._process: subprocess.Popen[bytes] | None = None
        state = workspace.engine_state
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._env = {
            **_quiet(),
            **environment,
            "PULUMI_BACKEND_URL": f"file://{state}",
            "PULUMI_CONFIG_PASSPHRASE": workspace.passphrase(),
            "PULUMI_PYTHON_CMD": sys.executable,
            "PULUMI_DEBUG_COMMANDS": "true",
        }

    def preview(self, on_event: OnEvent, target: Sequence[str] = (), replace: Sequence[str] = ()) -> Summary:
        self._select()
        return self._run(on_event, ["preview", "--diff", *_limits(target, replace)])

    def up(self, on_event: OnEvent, target: Sequence[str] = (), replace: Sequence[str] = ()) -> Summary:
        self._select()
        return self._run(on_event, ["up", "--yes", "--skip-preview", "--continue-on-error", *_limits(target, replace)])

    def refresh(self, on_event: OnEvent) -> Summary:
        self._select()
        return self._run(on_event, ["refresh", "--yes", "--skip-preview"])

    def destroy(self, on_event: OnEvent) -> Summary:
        self._select()
        return self._run(on_event, ["destroy", "--yes", "--skip-preview", "--continue-on-error"])

    def outputs(self) -> Mapping[str, Any]:
        return dict(json.loads(self._ask("stack", "output", "--json")))

    def resources(self) -> list[Mapping[str, Any]]:
        return list(json.loads(self._ask("stack", "export"))["deployment"].get("resources") or [])

    def cancel(self) -> None:
        """Ctrl-C reaches the CLI by the terminal; it does what is meant here by itself."""

    @property
    def _config(self) -> Path:
        """The stack file with the salt that the CLI adds to it: the file in the checkout stays as it is."""
        return self._workspace.paths.root / f"Pulumi.{self._workspace.stack}.yaml"

    def _select(self) -> None:
        """The stack exists in the backend, and its configuration is today's stack file with the state's salt.

        `pulumi stack init` would write the salt into the checkout's stack file; an empty state of our own does not.
        """
        if not self._workspace.checkpoint.exists():
            Embedded(self._workspace, "", {}).clear()
        document = yaml.safe_load(self._workspace.file.read_text())
        state = json.loads(self._workspace.checkpoint.read_text())["checkpoint"]["latest"]
        document["encryptionsalt"] = state["secrets_providers"]["state"]["salt"]
        write_text(self._config, yaml.safe_dump(document, sort_keys=False))

    def _common(self) -> list[str]:
        return ["--stack", self._workspace.stack, "--non-interactive"]

    def _ask(self, *arguments: str) -> str:
        command = [str(pulumi_cli.cli()), *arguments, *self._common()]
        done = subprocess.run(
            command, cwd=self._workspace.project, env=self._env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = (done.stderr.strip() or "no output").splitlines()[-1]
            raise HalabError(f"pulumi {' '.join(arguments[:2])} failed ({done.returncode}): {last}")
        return done.stdout

    def _run(self, on_event: OnEvent, arguments: list[str]) -> Summary:
        """The command with its own display on this terminal; `on_event` gets what it did when it has ended."""
        log = self._workspace.paths.root / "pulumi.events"
        log.unlink(missing_ok=True)
        log.touch(mode=0o600)
        settings = ["--parallel", str(self._parallel), "--config-file", str(self._config), "--event-log", str(log)]
        command = [str(pulumi_cli.cli()), *arguments, *settings, *self._common()]
        code = subprocess.run(
            command, cwd=self._workspace.project, env=self._env, stdout=sys.stderr, check=False
        ).returncode
        raw = [json.loads(line) for line in log.read_text().splitlines() if line.strip()]
        # it holds what providers say at their most talkative
        log.unlink()
        for event in events(raw):
            on_event(event)
        return summary(raw, arguments[0], code)


def events(raw: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
    """The CLI's event log (apitype.EngineEvent; whole seconds) as the embedded engine's events."""
    begun: dict[str, float] = {}
    for one in raw:
        at = float(one.get("timestamp") or 0)
        if found := one.get("resourcePreEvent"):
            meta = found["metadata"]
            begun[meta["urn"]] = at
            yield ResourceStarted(meta["op"], meta["urn"], meta["type"], meta["urn"].rpartition("::")[2], at)
        elif (found := one.get("resOutputsEvent")) or (found := one.get(_FAILED)):
            meta = found["metadata"]
            error = "" if _FAILED not in one else "failed; pulumi says why above"
            yield ResourceFinished(meta["op"], meta["urn"], not error, error, at - begun.pop(meta["urn"], at))
        elif (found := one.get("diagnosticEvent")) and found.get("severity") in ("warning", "error"):
            yield Diagnostic(found["severity"], (found.get("message") or "").strip())


def summary(raw: Iterable[Mapping[str, Any]], command: str, code: int) -> Summary:
    """The same log as the embedded engine's summary; `code` is the command's exit code."""
    counts: dict[str, int] = {}
    steps: list[tuple[Any, str, Mapping[str, Any]]] = []
    failures: list[Failure] = []
    seconds = 0.0
    for one in raw:
        if found := one.get("resourcePreEvent"):
            steps.append((found["metadata"]["op"], found["metadata"]["urn"], {}))
        elif found := one.get("summaryEvent"):
            counts = dict(found.get("resourceChanges") or {})
            seconds = float(found.get("durationSeconds") or 0)
        elif (found := one.get("diagnosticEvent")) and found.get("severity") == "error":
            failures.append(Failure(found.get("urn") or "", (found.get("message") or "").strip()))
    if code and not failures:
        failures.append(Failure("", f"pulumi {command} ended with {code}; it said why above"))
    return Summary(counts, tuple(steps), tuple(failures) if code else (), seconds)
