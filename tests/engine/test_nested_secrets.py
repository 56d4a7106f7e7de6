"""A secret inside a secret, as the Pulumi CLI stores it: encrypted once, with the outer one."""

from __future__ import annotations

import json
from pathlib import Path

from halab.embedded.engine.values import SIG, SIG_SECRET, from_state, to_state
from halab.embedded.provider import Secret

CONNECTION = Secret({"host": "10.0.0.1", "privateKey": Secret("key")})


def seal(text: str) -> dict[str, str]:
    return {"ciphertext": "v1:" + text}


def test_the_inner_text_is_not_encrypted_again() -> None:
    stored = to_state(CONNECTION, seal)
    assert stored[SIG] == SIG_SECRET
    inner = json.loads(stored["ciphertext"].removeprefix("v1:"))
    assert inner == {"host": "10.0.0.1", "privateKey": {SIG: SIG_SECRET, "ciphertext": '"key"'}}


def test_what_is_stored_is_read_back() -> None:
    stored = to_state({"connection": CONNECTION}, seal)
    assert from_state(stored, Path("/"), lambda text: text.removeprefix("v1:")) == {"connection": CONNECTION}
