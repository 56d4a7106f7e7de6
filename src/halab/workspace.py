"""One stack on this host: what it is, and where its state, history and logs are."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import yaml

from components.steps import StepGraph
from components.topology import Topology, derive
from components.variant import CONFIG_KEY, StackError, Variant, load, parse, stack_file
from halab.embedded.hypervisor.paths import Paths, state_folder
from halab.errors import RefusedError

#: The variants that `up` can build today; the others can be previewed and drawn.
BUILDABLE = frozenset({Variant.COLLAPSED, Variant.KEEPALIVED, Variant.CLONED, Variant.ENDPOINT})
DESCRIPTION = "stack.yaml"


@dataclass(frozen=True, slots=True)
class Record:
    """What must be known about a stack that is up: `hypervisor` is "embedded" or a libvirt URI, `engine` its name.

    `fenced`: fence device to the seconds of its proof. Times are UTC, ISO 8601: `since` of the first up, by the user
    `owner`; `built` of the last run of the program that did all it should; `verified` of the last verification that
    passed. "" where that is not so (yet).
    """

    hypervisor: str = ""
    engine: str = ""
    fenced: Mapping[str, float] = field(default_factory=dict)
    verified: str = ""
    owner: str = ""
    since: str = ""
    built: str = ""


def read_record(file: Path) -> Record | None:
    """A stack's record, None where there is none that can be read."""
    try:
        found = json.loads(file.read_text())
        return Record(**{key: found[key] for key in Record.__dataclass_fields__ if key in found})
    except (OSError, ValueError, TypeError):
        return None


@dataclass(frozen=True)
class Workspace:
    """`state` is the folder of all stacks ($HALAB_STATE); nothing in it is made before it is needed."""

    project: Path
    topology: Topology
    state: Path

    @classmethod
    def load(cls, project: Path, stack: str) -> Workspace:
        """Raises StackError with every problem of the stack's file."""
        return cls(project, derive(load(project, stack)), state_folder())

    @classmethod
    def standing(cls, project: Path, stack: str, state: Path | None = None) -> Workspace:
        """The stack as it was last brought up, else by its file. Raises StackError when there is neither."""
        folder = state or state_folder()
        kept = Paths.of(stack, folder).root / DESCRIPTION
        try:
            described = yaml.safe_load(kept.read_text())["config"][CONFIG_KEY]
            return cls(project, derive(parse(stack, described, str(kept))), folder)
        except (OSError, yaml.YAMLError, KeyError, TypeError, StackError):
            return cls(project, derive(load(project, stack)), folder)

    @property
    def stack(self) -> str:
        return self.topology.stack.name

    @property
    def description(self) -> Path:
        """The stack file as it was at the last up: what is there, whatever becomes of the file."""
        return self.paths.root / DESCRIPTION

    @property
    def file(self) -> Path:
        """The stack file, else what is kept of it."""
        own = stack_file(self.project, self.stack)
        return own if own.exists() else self.description

    @property
    def up_lock(self) -> Path:
        """Held by the up that builds the stack."""
        return self.paths.root.parent / f".{self.stack}.up.lock"

    @property
    def fault_lock(self) -> Path:
        """Held by the fault that the stack goes through: only what that begins itself changes the stack meanwhile."""
        return self.paths.root.parent / f".{self.stack}.fault.lock"

    @cached_property
    def plan(self) -> StepGraph:
        from components.plan import plan

        return plan(self.topology)

    @property
    def paths(self) -> Paths:
        return Paths.of(self.stack, self.state)

    @property
    def engine_state(self) -> Path:
        """The folder of Pulumi's checkpoints, in the layout of its file backend; shared by all stacks."""
        return self.state / "pulumi"

    @property
    def checkpoint(self) -> Path:
        """The stack's state, in the place and form where the Pulumi CLI's file backend has it too."""
        return self.engine_state / ".pulumi" / "stacks" / "halab" / f"{self.stack}.json"

    @property
    def logs(self) -> Path:
        """Logs of runs; they stay after `down`."""
        return self.state / "log" / self.stack

    @property
    def history(self) -> Path:
        """How long each step took, run by run; it stays after `down`."""
        return self.state / "history" / f"{self.stack}.json"

    @property
    def times(self) -> Path:
        """What the last up that did anything took, step by step; it stays after `down`."""
        return self.state / "history" / f"{self.stack}.times.json"

    @property
    def build(self) -> Path:
        """What the last up that did every step took, when, and on which machine; it stays after `down`."""
        return self.state / "history" / f"{self.stack}.build.json"

    @property
    def record_file(self) -> Path:
        return self.paths.root / "halab.json"

    def record(self) -> Record | None:
        """None when the stack was never brought up, or is down. One that is lost or damaged is what the state tells."""
        found = read_record(self.record_file)
        return found if found and found.hypervisor else self._from_state() or found

    def _from_state(self) -> Record | None:
        """A stack with a state is where its provider is."""
        try:
            resources = json.loads(self.checkpoint.read_bytes())["checkpoint"]["latest"]["resources"]
            uris = [one["inputs"]["uri"] for one in resources if one["type"] == "pulumi:providers:libvirt"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Record(hypervisor="embedded" if uris[0] == self.paths.uri else uris[0]) if uris else None

    def note(self, **changes: object) -> Record:
        """Change the record on disk."""
        record = replace(self.record() or Record(), **changes)  # type: ignore[arg-type]
        write_json(self.record_file, asdict(record))
        return record

    def new_log(self, command: str) -> Path:
        """An empty file for one run's log; the last twenty are kept."""
        self.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in sorted(self.logs.glob("*.log"), key=lambda path: path.stat().st_mtime)[:-19]:
            old.unlink(missing_ok=True)
        path = self.logs / f"{command}-{time.strftime('%Y%m%dT%H%M%S')}.log"
        path.touch(mode=0o600)
        return path

    def refuse_unbuildable(self) -> None:
        """Raises RefusedError for a variant that cannot be brought up yet."""
        variant = self.topology.stack.variant
        if variant not in BUILDABLE:
            raise RefusedError(
                f"{self.stack}: variant {variant} can be previewed and drawn, not brought up yet; "
                f"up builds {', '.join(sorted(BUILDABLE))}"
            )

    def passphrase(self, *, keep: bool = True) -> str:
        """What encrypts secrets in the state: $PULUMI_CONFIG_PASSPHRASE, its _FILE, or this host's own, made once.

        Without `keep` one that is made is not written. Raises RefusedError when the named file cannot be read.
        """
        given = os.environ.get("PULUMI_CONFIG_PASSPHRASE")
        if given is not None:
            return given
        named = os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")
        path = Path(named) if named else self.state / "passphrase"
        if not named and not path.exists():
            made = secrets.token_hex(24)
            if not keep:
                return made
            write_text(path, made + "\n", anew=False)
        try:
            return path.read_text().strip()
        except OSError as error:
            raise RefusedError(f"PULUMI_CONFIG_PASSPHRASE_FILE: {path}: {error.strerror}") from None


def now() -> str:
    """As records write the time: UTC, ISO 8601, whole seconds."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def write_text(path: Path, text: str, *, anew: bool = True) -> None:
    """Replace a file at once, mode 0600, on disk when it returns. Not `anew`: one that is there already stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        if anew:
            os.replace(temporary, path)
        else:
            with suppress(FileExistsError):
                os.link(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")
