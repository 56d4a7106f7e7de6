"""The state file: Pulumi's v3 checkpoint, written atomically.

The file has the layout of Pulumi's own file backend (`{"version": 3, "checkpoint": {"stack", "latest"}}`), so a
`file://` backend can read it in place; an export's layout (`{"version": 3, "deployment": …}`) is accepted too.
"""

from __future__ import annotations

import errno
import json
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from halab.embedded.engine import state
from halab.embedded.engine.cipher import Cipher
from halab.embedded.engine.errors import StateError
from halab.embedded.engine.references import check_integrity
from halab.embedded.engine.state import Resource

VERSION = 3
READABLE = (3, 4)

Pending = Literal["creating", "updating", "deleting", "reading"]


def now() -> str:
    """The time as Pulumi stores it (RFC 3339, UTC)."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def deployment_of(tree: Any) -> dict[str, Any]:
    """The deployment inside a state file or an export.

    Raises: StateError when the layout or its version is not one the engine reads.
    """
    if not isinstance(tree, dict) or tree.get("version") not in READABLE:
        version = tree.get("version") if isinstance(tree, dict) else None
        raise StateError(f"version {version!r} is not a checkpoint the engine reads (3 or 4)")
    inner = tree.get("deployment")
    if inner is None and isinstance(tree.get("checkpoint"), dict):
        inner = tree["checkpoint"].get("latest") or {}
    if not isinstance(inner, dict) or not isinstance(inner.get("resources") or [], list):
        raise StateError("it holds no deployment")
    return inner


def salt_of(deployment: Mapping[str, Any]) -> str:
    """The passphrase salt a deployment was encrypted with, or "".

    Raises: StateError when another secrets provider encrypted it.
    """
    provider = deployment.get("secrets_providers") or {}
    if provider.get("type") not in (None, "", "passphrase"):
        raise StateError(f"its secrets provider is {provider['type']}, only passphrase is supported")
    return str((provider.get("state") or {}).get("salt") or "")


class Sealer:
    """Encrypts secrets for one checkpoint and keeps the ciphertext of values that have not changed, per resource."""

    def __init__(self, cipher: Cipher) -> None:
        self.cipher = cipher
        self._kept: dict[tuple[str, str], str] = {}

    def close(self, urn: str) -> Callable[[str], dict[str, str]]:
        def seal(text: str) -> dict[str, str]:
            if (urn, text) not in self._kept:
                self._kept[urn, text] = self.cipher.encrypt(text)
            return {"ciphertext": self._kept[urn, text]}

        return seal

    def open(self, urn: str, cipher: Cipher | None = None) -> Callable[[str], str]:
        """`cipher` differs from the sealer's own when an import was encrypted with another salt."""

        def unseal(ciphertext: str) -> str:
            text = (cipher or self.cipher).decrypt(ciphertext)
            if cipher is None:
                self._kept[urn, text] = ciphertext
            return text

        return unseal


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint in memory: its resources in order, and operations an earlier run did not finish."""

    resources: tuple[Resource, ...] = ()
    pending: tuple[tuple[Pending, Resource], ...] = ()


def decode(deployment: Mapping[str, Any], root: Path, sealer: Sealer, cipher: Cipher | None = None) -> Loaded:
    """A deployment's resources.

    Raises: StateError when a resource is malformed or out of order; PassphraseError when a secret does not open.
    """

    def one(tree: Any) -> Resource:
        if not isinstance(tree, dict):
            raise StateError("a resource in the state is not a map")
        return state.from_json(tree, root, sealer.open(str(tree.get("urn")), cipher))

    resources = tuple(one(tree) for tree in deployment.get("resources") or [])
    check_integrity(resources)
    pending = tuple(
        (item["type"], one(item["resource"])) for item in deployment.get("pending_operations") or [] if item
    )
    return Loaded(resources, pending)


class Store:
    """One stack's state file. `backup` is the state one write earlier: at most the last operation is missing in it."""

    def __init__(self, file: Path, stack: str, root: Path) -> None:
        self.file = file
        self.backup = file.with_name(file.name + ".bak")
        self._stack = stack
        self._root = root
        self._fragments: weakref.WeakKeyDictionary[Resource, str] = weakref.WeakKeyDictionary()

    def read(self) -> dict[str, Any] | None:
        """The deployment on disk, None when there is no file yet.

        Raises: StateError naming the file and its backup when it is damaged.
        """
        try:
            text = self.file.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return deployment_of(json.loads(text))
        except (ValueError, StateError) as error:
            raise self.damaged(str(error)) from error

    def damaged(self, reason: str) -> StateError:
        if not self.backup.exists():
            return StateError(f"{self.file} is damaged: {reason}; there is no backup: take the stack down")
        return StateError(
            f"{self.file} is damaged: {reason}; the state one operation earlier is beside it: "
            f"cp {self.backup} {self.file}, then up with --refresh; or take the stack down"
        )

    def write(self, sealer: Sealer, resources: Sequence[Resource], pending: Sequence[tuple[Pending, Resource]]) -> None:
        """Replaces the file by one holding exactly this; on return it is on disk.

        Raises: StateError when the file system refuses.
        """
        body = self._text(sealer, resources, pending)
        scratch = self.file.with_name(self.file.name + ".new")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
                out.write(body)
                out.flush()
                os.fsync(out.fileno())
            self._keep_backup()
            os.replace(scratch, self.file)
            _sync_directory(self.file.parent)
        except OSError as error:
            scratch.unlink(missing_ok=True)
            hint = ": make room (df -h), then run it again" if error.errno == errno.ENOSPC else ""
            raise StateError(f"cannot write {self.file}: {error.strerror or error}{hint}") from error

    def _keep_backup(self) -> None:
        if not self.file.exists():
            return
        link = self.backup.with_name(self.backup.name + ".new")
        link.unlink(missing_ok=True)
        os.link(self.file, link)
        os.replace(link, self.backup)

    def _text(self, sealer: Sealer, resources: Sequence[Resource], pending: Sequence[tuple[Pending, Resource]]) -> str:
        operations = [
            f'{{"resource":{self._fragment(sealer, resource)},"type":{json.dumps(kind)}}}' for kind, resource in pending
        ]
        head = json.dumps(
            {
                "manifest": {"time": now(), "magic": "", "version": ""},
                "secrets_providers": {"type": "passphrase", "state": {"salt": sealer.cipher.salt}},
            },
            separators=(",", ":"),
        )
        return (
            f'{{"version":{VERSION},"checkpoint":{{"stack":{json.dumps(self._stack)},"latest":{head[:-1]},\n'
            f'"resources":[\n{_lines(self._fragment(sealer, resource) for resource in resources)}],\n'
            f'"pending_operations":[{_lines(operations)}],"metadata":{{}}}}}}}}\n'
        )

    def _fragment(self, sealer: Sealer, resource: Resource) -> str:
        text = self._fragments.get(resource)
        if text is None:
            tree = state.to_json(resource, sealer.close(resource.urn))
            text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False)
            self._fragments[resource] = text
        return text


def _lines(fragments: Any) -> str:
    return ",\n".join(fragments)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
