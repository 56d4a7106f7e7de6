"""Nothing secret leaves the host in a bundle of logs."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.recipe import Recipe
from components.secrets import KEYS, Secrets
from components.steps import Step, StepGraph
from halab.masking import Mask

SECRETS = Secrets(b"s" * 32, datetime(2026, 1, 1, tzinfo=UTC))
RECIPE = Recipe(Path("x.sh"))
PLAN = StepGraph(
    (
        Step(
            "machine.secrets@a", "a", RECIPE, "secrets", secrets=frozenset({"KEYSTONE_DB", "FENCE_KEY", "ENDPOINT_PEM"})
        ),
    )
)


@pytest.mark.parametrize("name", ["KEYSTONE_DB", "FERNET_0", "COROSYNC_AUTHKEY"])
def test_a_secret_is_masked_wherever_it_stands_on_a_line(name: str) -> None:
    mask = Mask.of(SECRETS, PLAN)
    value = SECRETS.value(name).encode()
    masked = mask(b"connection=mysql://u:" + value + b"@h/db?x=1\n")
    assert value[:40] not in masked
    assert masked.startswith(b"connection=mysql://u:[secret]")
    assert masked.endswith(b"\n")
    assert mask.hits >= 1


def test_a_key_that_a_program_prints_in_lines_of_base64_is_masked_line_by_line() -> None:
    wrapped = "\n".join(SECRETS.value("FENCE_KEY")[at : at + 60] for at in range(0, 660, 60))
    masked = Mask.of(SECRETS, PLAN)(wrapped.encode())
    assert set(masked.splitlines()) == {b"[secret]"}


def test_a_private_key_is_masked_even_when_it_is_cut_off() -> None:
    whole = SECRETS.ssh_private("controller-1").encode()
    assert Mask.of(None, PLAN)(b"a\n" + whole[:200]) == b"a\n[secret]"


def test_tokens_are_masked_by_their_form() -> None:
    token = b"gAAAAA" + base64.urlsafe_b64encode(bytes(range(90)))
    assert token[:30] not in Mask.of(None, PLAN)(b"X-Auth-Token: short\n< " + token)
    assert b"short" not in Mask.of(None, PLAN)(b"x-auth-token: short\n")


def test_every_key_of_the_model_is_among_what_is_masked() -> None:
    mask = Mask.of(SECRETS, PLAN)
    for name in KEYS:
        assert SECRETS.value(name)[:60].encode() not in mask(SECRETS.value(name).encode())


def test_what_is_no_secret_stays_as_it_is() -> None:
    text = b"controller-1 10.1.2.3 keystone started 0123456789abcdef\n"
    assert Mask.of(SECRETS, PLAN)(text) == text
