"""A minimal `command:local:Command` for driving the engine: runs shell commands, diffs by path."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

from halab.embedded.engine import paths
from halab.embedded.provider import UNKNOWN, Call, Created, Diff, DiffKind, Props, ProviderError


class LocalCommand:
    """`directory` is where the commands run. Counts its calls in `calls`."""

    package = "command"
    version = "1.2.1"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.calls: list[str] = []
        self.config: Props | None = None

    def check_config(self, inputs: Props) -> Props:
        return inputs

    def configure(self, inputs: Props) -> None:
        self.config = inputs

    def check(self, type_: str, name: str, old: Props | None, new: Props) -> Props:
        if new.get("create") == "":
            raise ProviderError(f"{name}: create must not be empty")
        return new

    def diff(self, type_: str, id_: str, old_inputs: Props, old_outputs: Props, new_inputs: Props) -> Diff:
        found = {}
        for path, kind in paths.compare(old_inputs, new_inputs):
            whole = path == ("triggers",)
            found[paths.render(path)] = DiffKind(f"{kind}-replace") if whole else kind
        return Diff(found)

    def create(self, type_: str, call: Call, inputs: Props, *, preview: bool) -> Created:
        self.calls.append(f"create {call.urn}")
        if preview:
            return Created("", {**inputs, "stdout": UNKNOWN, "stderr": UNKNOWN})
        return Created(
            f"{call.urn.rpartition('::')[2]}{secrets.token_hex(4)}", {**inputs, **self._run(call, inputs, "create", {})}
        )

    def read(self, type_: str, call: Call, id_: str, inputs: Props, outputs: Props) -> Props | None:
        self.calls.append(f"read {call.urn}")
        if (self._directory / f"gone-{call.urn.rpartition('::')[2]}").exists():
            return None
        drift = self._directory / f"drift-{call.urn.rpartition('::')[2]}"
        return {**outputs, "stdout": drift.read_text()} if drift.exists() else outputs

    def update(
        self, type_: str, call: Call, id_: str, old_inputs: Props, old_outputs: Props, inputs: Props, *, preview: bool
    ) -> Props:
        self.calls.append(f"update {call.urn}")
        kept: Props = {key: old_outputs[key] for key in ("stdout", "stderr") if key in old_outputs}
        if preview:
            return {**inputs, **kept}
        what = "update" if inputs.get("update") else "create"
        return {**inputs, **self._run(call, inputs, what, kept)}

    def delete(self, type_: str, call: Call, id_: str, inputs: Props, outputs: Props) -> None:
        self.calls.append(f"delete {call.urn}")
        if inputs.get("delete"):
            self._run(call, inputs, "delete", outputs)

    def take_back(self, type_: str, call: Call, inputs: Props) -> None:
        assert inputs["create"]
        with (self._directory / "taken-back").open("a") as file:
            file.write(call.urn.rpartition("::")[2] + "\n")

    def close(self) -> None:
        self.calls.append("close")

    def _run(self, call: Call, inputs: Props, what: str, before: Props) -> Props:
        environment = {**os.environ, **inputs.get("environment", {})}
        environment |= {
            "PULUMI_COMMAND_STDOUT": str(before.get("stdout", "")),
            "PULUMI_COMMAND_STDERR": str(before.get("stderr", "")),
        }
        done = subprocess.run(
            ["/bin/sh", "-c", inputs[what]],
            env=environment,
            cwd=self._directory,
            input=inputs.get("stdin", ""),
            capture_output=True,
            text=True,
            check=False,
        )
        for line in done.stderr.splitlines():
            call.log("info", line)
        outputs = {"stdout": done.stdout.removesuffix("\n"), "stderr": done.stderr.removesuffix("\n")}
        if done.returncode:
            exists = (self._directory / f"partial-{call.urn.rpartition('::')[2]}").exists()
            created = Created("partial", {**inputs, **outputs}) if exists and what == "create" else None
            raise ProviderError(f"exit status {done.returncode}: running {inputs[what]!r}", created)
        return outputs
