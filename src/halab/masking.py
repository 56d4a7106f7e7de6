"""Secrets taken out of text that leaves this host."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from components.secrets import ENDPOINT_PEM, FERNET, KEYS, Secrets
from components.steps import StepGraph

_REPLACEMENT = b"[secret]"
#: What is secret by its form, whoever made it.
_FORMS = (
    re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(rb"(?<=X-Auth-Token: )\S+", re.IGNORECASE),
    re.compile(rb"(?<=X-Subject-Token: )\S+", re.IGNORECASE),
    re.compile(rb"gAAAAA[A-Za-z0-9_=-]{60,}"),
)


class Mask:
    """Replaces every secret of a stack; `hits` counts how many it found."""

    def __init__(self, values: Iterable[bytes]) -> None:
        longest_first = sorted({value for value in values if len(value) >= 12}, key=len, reverse=True)
        self._values = re.compile(b"|".join(map(re.escape, longest_first))) if longest_first else None
        self.hits = 0

    @classmethod
    def of(cls, secrets: Secrets | None, plan: StepGraph) -> Mask:
        """Every secret the plan's steps name; only the forms where the stack has no secrets."""
        if secrets is None:
            return cls(())
        names = set().union(*(step.secrets for step in plan.steps)) | {*KEYS, *FERNET}
        values: set[bytes] = set()
        for name in names - {ENDPOINT_PEM}:
            value = secrets.value(name)
            # keys are files: part of their base64, and no more, may stand on a line
            pieces = [value[at : at + 60] for at in range(0, len(value), 60)] if name in KEYS else [value]
            values.update(piece.encode() for piece in pieces)
            values.update(base64.b64encode(piece.encode()) for piece in pieces)
        values.update(line.encode() for line in secrets.ssh_private("client").splitlines()[1:-1])
        values.add(secrets.seed.hex().encode())
        return cls(values)

    def __call__(self, content: bytes) -> bytes:
        for pattern in (*([self._values] if self._values else []), *_FORMS):
            content, found = pattern.subn(_REPLACEMENT, content)
            self.hits += found
        return content
