"""The same project through the Pulumi CLI, when one with its command plugin is on PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.engine.harness import PASSPHRASE, STACK, Lab

NEEDED = ("pulumi", "pulumi-language-python", "pulumi-resource-command")
MISSING = [name for name in NEEDED if shutil.which(name) is None]


@dataclass
class CliRun:
    """One CLI operation: its exit code, its steps as (op, name) with multiplicity, and what it printed."""

    code: int
    steps: Counter[tuple[str, str]]
    output: str


class Cli:
    """The CLI over a Lab's directory, with a file backend of its own there."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.directory = lab.directory
        backend = self.directory / "backend"
        backend.mkdir()
        self._env = {
            **os.environ,
            "PULUMI_BACKEND_URL": f"file://{backend}",
            "PULUMI_HOME": str(self.directory / "home"),
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_DEBUG_COMMANDS": "true",
            "PULUMI_PYTHON_CMD": sys.executable,
            "PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "1",
        }
        self._call("stack", "init", STACK, "--secrets-provider", "passphrase")

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self._try(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def _try(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.directory,
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def _run(self, *arguments: str) -> CliRun:
        log = self.directory / "events"
        log.unlink(missing_ok=True)
        done = self._try(*arguments, "--stack", STACK, "--event-log", str(log), "--color", "never")
        events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        steps = Counter(
            (data["op"], data["urn"].rpartition("::")[2])
            for event in events
            if (data := event.get("resourcePreEvent", {}).get("metadata")) and "::default" not in data["urn"]
        )
        return CliRun(done.returncode, steps, done.stdout + done.stderr)

    @contextmanager
    def running(self, *arguments: str) -> Iterator[None]:
        """The operation in the background; left once it has ended well."""
        child = subprocess.Popen(
            ["pulumi", *arguments, "--stack", STACK, "--non-interactive"],
            cwd=self.directory,
            env=self._env,
            stdout=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            assert child.wait(timeout=300) == 0

    def up(self, *arguments: str) -> CliRun:
        return self._run("up", "--yes", "--skip-preview", *arguments)

    def preview(self, *arguments: str) -> CliRun:
        return self._run("preview", *arguments)

    def destroy(self) -> CliRun:
        return self._run("destroy", "--yes", "--skip-preview")

    def export(self, *arguments: str) -> dict[str, Any]:
        tree: dict[str, Any] = json.loads(self._call("stack", "export", "--stack", STACK, *arguments).stdout)
        return tree

    def config(self, key: str) -> str:
        return self._call("config", "get", key, "--stack", STACK).stdout.strip()

    def import_(self, checkpoint: dict[str, Any]) -> None:
        file = self.directory / "import.json"
        file.write_text(json.dumps(checkpoint))
        self._call("stack", "import", "--stack", STACK, "--file", str(file))


def plain_state(tree: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """URN -> resource of an export with shown secrets, without what differs from run to run."""
    found: dict[str, dict[str, Any]] = {}
    for resource in tree["deployment"]["resources"]:
        kept = {
            key: value
            for key, value in resource.items()
            if key not in ("created", "modified", "sourcePosition", "stackTrace", "id", "provider", "snippetId")
        }
        kept["dependencies"] = sorted(kept.get("dependencies") or [])
        kept["propertyDependencies"] = {
            key: sorted(urns or []) for key, urns in (kept.get("propertyDependencies") or {}).items()
        }
        found[resource["urn"]] = kept
    return found
