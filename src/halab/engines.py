"""Which engine runs the program: the Pulumi CLI with its plugins at the pinned versions, else halab's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from halab import program
from halab.embedded.engine.events import Event, Failure, Summary
from halab.errors import HalabError, RefusedError
from halab.host import pulumi_cli
from halab.hypervisors import Choice
from halab.workspace import Workspace, write_text

PARALLEL = 64
OnEvent = Callable[[Event], None]
Asked = Literal["auto", "cli", "embedded"]


class Runner(Protocol):
    """One stack's program under one engine. Every method may raise an error whose text is for the user."""

    name: Literal["cli", "embedded"]

    def preview(self, on_event: OnEvent, target: Sequence[str] = ()) -> Summary: ...
    def up(self, on_event: OnEvent, target: Sequence[str] = ()) -> Summary:
        """`target`: names or URN patterns to which the run is limited."""
        ...

    def refresh(self, on_event: OnEvent) -> Summary: ...
    def destroy(self, on_event: OnEvent) -> Summary: ...
    def outputs(self) -> Mapping[str, Any]: ...
    def resources(self) -> list[Mapping[str, Any]]:
        """The `resources` of the checkpoint, secrets closed."""
        ...

    def cancel(self) -> None:
        """Start nothing new; running operations go on to their end."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """`why` ends the sentence that tells the user which engine runs."""

    name: Literal["cli", "embedded"]
    why: str

    def __str__(self) -> str:
        return f"engine: {'Pulumi CLI' if self.name == 'cli' else 'embedded'} ({self.why})"


def choose(asked: Asked) -> Engine:
    """Raises RefusedError when the CLI was asked for and is not complete."""
    if asked == "embedded":
        return Engine("embedded", "as asked")
    lacking = "; ".join(pulumi_cli.lacking())
    if not lacking:
        return Engine("cli", "as asked" if asked == "cli" else "installed with its plugins")
    if asked == "cli":
        raise RefusedError(f"--engine cli: {lacking}; run ./halab doctor --install, or leave --engine out")
    return Engine("embedded", lacking)


def runner(workspace: Workspace, engine: Engine, hypervisor: Choice, domain_type: str | None = None) -> Runner:
    """`domain_type`: kvm or qemu where it is known; else the program finds out."""
    if engine.name == "cli":
        return PulumiCli(workspace, environment(hypervisor.uri, domain_type))
    return Embedded(workspace, hypervisor.uri, environment(hypervisor.uri, domain_type))


def environment(uri: str, domain_type: str | None) -> dict[str, str]:
    """What the program is told of the host by its environment."""
    return {program.URI: uri, **({program.DOMAIN_TYPE: domain_type} if domain_type else {})}


class Embedded:
    """halab's own engine."""

    name: Literal["cli", "embedded"] = "embedded"

    def __init__(self, workspace: Workspace, uri: str, environment: Mapping[str, str], *, keep: bool = True) -> None:
        """Without `keep` nothing is written on disk, for a preview."""
        from halab.embedded.engine.engine import Engine as EmbeddedEngine
        from halab.embedded.providers import providers

        self._sink: OnEvent = lambda event: None
        self._engine = EmbeddedEngine(
            workspace.project,
            workspace.stack,
            workspace.engine_state / ".pulumi" / "stacks",
            workspace.passphrase(keep=keep),
            providers(uri),
            parallel=PARALLEL,
            on_event=lambda event: self._sink(event),
            python=sys.executable,
            env=environment,
        )

    def preview(self, on_event: OnEvent, target: Sequence[str] = ()) -> Summary:
        self._sink = on_event
        return self._engine.preview(target=target)

    def up(self, on_event: OnEvent, target: Sequence[str] = ()) -> Summary:
        self._sink = on_event
        return self._engine.up(target=target)

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


def _targets(target: Sequence[str]) -> list[str]:
    return [flag for one in target for flag in ("--target", one if one.startswith("urn:") else f"**::{one}")]


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

    def __init__(self, workspace: Workspace, environment: Mapping[str, str]) -> None:
        self._workspace = workspace
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

    def preview(self, on_event: OnEvent, target: Sequence[str] = ()) -> Summary:
        self._select()
        return self._run(["preview", "--diff", *_targets(target)])

    def up(self, on_event: OnEvent, target: Sequence[str] = ()) -> Summary:
        self._select()
        return self._run(["up", "--yes", "--skip-preview", "--continue-on-error", *_targets(target)])

    def refresh(self, on_event: OnEvent) -> Summary:
        self._select()
        return self._run(["refresh", "--yes", "--skip-preview"])

    def destroy(self, on_event: OnEvent) -> Summary:
        self._select()
        return self._run(["destroy", "--yes", "--skip-preview", "--continue-on-error"])

    def outputs(self) -> Mapping[str, Any]:
        return dict(json.loads(self._ask("stack", "output", "--json", "--show-secrets")))

    def resources(self) -> list[Mapping[str, Any]]:
        return list(json.loads(self._ask("stack", "export"))["deployment"].get("resources") or [])

    def cancel(self) -> None:
        """Ctrl-C reaches the CLI by the terminal; it does what is meant here by itself."""

    @property
    def _config(self) -> Path:
        """The stack file with the salt that the CLI adds to it: the file in the checkout stays as it is."""
        return self._workspace.paths.root / f"Pulumi.{self._workspace.stack}.yaml"

    def _select(self) -> None:
        """The stack exists in the backend, and its configuration is today's stack file with the state's salt."""
        import yaml

        from components.variant import stack_file

        try:
            salt = (yaml.safe_load(self._config.read_text()) or {}).get("encryptionsalt", "")
        except FileNotFoundError:
            salt = self._state_salt()
        document = yaml.safe_load(stack_file(self._workspace.project, self._workspace.stack).read_text())
        if salt:
            document["encryptionsalt"] = salt
        write_text(self._config, yaml.safe_dump(document, sort_keys=False))
        self._ask("stack", "select", "--create", "--secrets-provider", "passphrase")

    def _state_salt(self) -> str:
        try:
            latest = json.loads(self._workspace.checkpoint.read_text())["checkpoint"]["latest"]
            return str(latest["secrets_providers"]["state"]["salt"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _common(self) -> list[str]:
        return ["--stack", self._workspace.stack, "--config-file", str(self._config), "--non-interactive"]

    def _ask(self, *arguments: str) -> str:
        command = [str(pulumi_cli.cli()), *arguments, *self._common()]
        done = subprocess.run(
            command, cwd=self._workspace.project, env=self._env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = (done.stderr.strip() or "no output").splitlines()[-1]
            raise HalabError(f"pulumi {' '.join(arguments[:2])} failed ({done.returncode}): {last}")
        return done.stdout

    def _run(self, arguments: list[str]) -> Summary:
        log = self._workspace.new_log(f"pulumi-{arguments[0]}")
        command = [
            str(pulumi_cli.cli()),
            *arguments,
            "--parallel",
            str(PARALLEL),
            "--event-log",
            str(log),
            *self._common(),
        ]
        code = subprocess.run(command, cwd=self._workspace.project, env=self._env, check=False).returncode
        events = _read_events(log)
        return summary(events, arguments[0], code)


def _read_events(log: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in log.read_text().splitlines() if line.strip()]
    except FileNotFoundError:
        return []


def summary(events: list[dict[str, Any]], command: str, code: int) -> Summary:
    """The CLI's event log (NDJSON, apitype.EngineEvent) as the embedded engine's summary."""
    counts: dict[str, int] = {}
    steps: list[tuple[Any, str, Mapping[str, Any]]] = []
    failures = []
    seconds = 0.0
    for event in events:
        if found := event.get("resourcePreEvent"):
            steps.append((found["metadata"]["op"], found["metadata"]["urn"], {}))
        elif found := event.get("summaryEvent"):
            counts = dict(found.get("resourceChanges") or {})
            seconds = float(found.get("durationSeconds") or 0)
        elif (found := event.get("diagnosticEvent")) and found.get("severity") == "error":
            failures.append(Failure(found.get("urn") or "", (found.get("message") or "").strip()))
    if code and not failures:
        failures.append(Failure("", f"pulumi {command} ended with {code}; its output is above"))
    return Summary(counts, tuple(steps), tuple(failures) if code else (), seconds)
