"""Secrets stay secret: in configuration, state, events and outputs; and configuration reaches the program."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from halab.embedded.engine import MASK, ConfigError, Engine, PassphraseError, Planned
from halab.embedded.engine import config as config_module
from halab.embedded.engine.cipher import Cipher
from tests.engine.harness import PASSPHRASE, Lab, ops

SECRET = "hunter2-is-the-token"

# Made by Pulumi's own engine (CLI 3.272.0) with this passphrase.
PULUMI_SALT = "v1:7EGWUUb3U5M=:v1:ddwSgU7c8sqvhKvP:5xpd9AjOcaFO1/aTR8IwgtidaUMJ/g=="


@pytest.fixture
def secret_lab(make_lab: Callable[..., Lab]) -> Lab:
    cipher = Cipher.new(PASSPHRASE)
    lab = make_lab(
        "lab",
        program="secrets",
        salt=cipher.salt,
        config={"token": {"secure": cipher.encrypt(SECRET)}, "nodes": [{"name": "one", "ram": 2048}], "mode": True},
    )
    (lab.directory / "phase").write_text("plain")
    (lab.directory / "asset.txt").write_text("first")
    return lab


def test_a_salt_made_by_pulumi_opens_with_its_passphrase_only() -> None:
    assert Cipher.open(PASSPHRASE, PULUMI_SALT, "x").salt == PULUMI_SALT
    with pytest.raises(PassphraseError, match="does not open the secrets in x"):
        Cipher.open("wrong", PULUMI_SALT, "x")


def test_no_plaintext_secret_reaches_the_state_or_an_event(secret_lab: Lab) -> None:
    summary = secret_lab.up()
    assert summary.ok, summary.failures
    text = (secret_lab.directory / "state" / "lab" / "test.json").read_text()
    assert SECRET not in text
    assert "from-the-output" not in text.replace("echo from-the-output", "")
    assert SECRET not in repr(secret_lab.events)
    assert SECRET not in repr(summary)
    (plan,) = [e for e in secret_lab.events if isinstance(e, Planned) and e.urn.endswith("::in")]
    assert plan.diff["environment"].new == {"TOKEN": MASK}


def test_outputs_are_masked_unless_asked_for(secret_lab: Lab) -> None:
    summary = secret_lab.up()
    assert summary.outputs["token"] == MASK
    outputs = secret_lab.engine().outputs()
    assert outputs == {"token": MASK, "nodes": [{"name": "one", "ram": 2048}], "mode": "true"}
    assert secret_lab.engine().outputs(show_secrets=True)["token"] == SECRET


def test_another_passphrase_is_refused_before_anything_runs(secret_lab: Lab) -> None:
    secret_lab.up()
    secret_lab.events.clear()
    with pytest.raises(PassphraseError, match=r"test\.json"):
        secret_lab.engine("wrong").up()
    assert secret_lab.events == []


def test_a_plain_value_that_becomes_secret_is_an_update(secret_lab: Lab) -> None:
    secret_lab.up()
    (secret_lab.directory / "phase").write_text("secret")
    summary = secret_lab.up()
    assert ops(summary) == {"turn": "update"}
    (diff,) = [diff for op, _, diff in summary.steps if op == "update"]
    assert diff["stdin"].old == MASK
    assert diff["stdin"].new == MASK
    assert "was-plain" not in (secret_lab.directory / "state" / "lab" / "test.json").read_text()


def test_a_changed_file_asset_is_seen_by_its_hash(secret_lab: Lab) -> None:
    secret_lab.up()
    assert not secret_lab.up().changed
    (secret_lab.directory / "asset.txt").write_text("second")
    assert ops(secret_lab.up()) == {"assets": "replace"}


def test_unchanged_secrets_keep_their_ciphertext(secret_lab: Lab) -> None:
    secret_lab.up()
    before = secret_lab.resource("in")
    (secret_lab.directory / "asset.txt").write_text("second")
    secret_lab.up()
    assert secret_lab.resource("in") == before


def test_an_export_with_secrets_shown_can_be_imported_again(secret_lab: Lab) -> None:
    secret_lab.up()
    shown = secret_lab.engine().export(show_secrets=True)
    assert SECRET in json.dumps(shown)
    secret_lab.engine().import_(shown)
    assert SECRET not in (secret_lab.directory / "state" / "lab" / "test.json").read_text()
    assert not secret_lab.up().changed
    secret_lab.engine().import_(secret_lab.engine().export())
    assert not secret_lab.up().changed


def test_a_secret_inside_a_secret_survives_an_open_export(lab: Lab) -> None:
    (lab.directory / "__main__.py").write_text(
        "import pulumi\nfrom pulumi_command import local\n"
        "inner = pulumi.Output.secret({'key': pulumi.Output.secret('inner-secret'), 'host': 'h'})\n"
        "local.Command('a', create='true', environment=inner)\n"
    )
    assert lab.up().ok
    assert "inner-secret" not in (lab.directory / "state" / "lab" / "test.json").read_text()
    lab.engine().import_(lab.engine().export(show_secrets=True))
    summary = lab.up()
    assert summary.ok
    assert not summary.changed


def test_an_import_with_another_salt_is_encrypted_anew(secret_lab: Lab, make_lab: Callable[..., Lab]) -> None:
    secret_lab.up()
    tree = secret_lab.engine().export()
    other = make_lab("other", program="secrets", config={})
    (other.directory / "phase").write_text("plain")
    other.engine().import_(tree)
    assert other.engine().outputs(show_secrets=True)["token"] == SECRET
    with pytest.raises(PassphraseError):
        other.engine("wrong").import_(tree)


def test_configuration_arrives_as_text_with_defaults_and_nested_secrets(lab: Lab) -> None:
    cipher = Cipher.new(PASSPHRASE)
    (lab.directory / "Pulumi.yaml").write_text(
        "name: lab\nruntime: python\nstackConfigDir: stacks\n"
        "config:\n  size: {type: integer, default: 3}\n  fixed: here\n  lab:other: {value: 1}\n  none: {type: string}\n"
    )
    given: dict[str, Any] = {"a": {"b": [1, {"secure": cipher.encrypt("deep")}]}, "flag": False, "size": 5}
    lab.configure(given)
    project = config_module.read_project(lab.directory)
    read = config_module.read_stack(project, "test", cipher.decrypt)
    assert read.values == {
        "lab:size": "5",
        "lab:fixed": "here",
        "lab:other": "1",
        "lab:a": '{"b":[1,"deep"]}',
        "lab:flag": "false",
    }
    assert read.secret_keys == {"lab:a"}


def test_a_missing_or_broken_project_is_named(lab: Lab) -> None:
    (lab.directory / "stacks" / "Pulumi.test.yaml").write_text("config: [")
    lab.write()
    with pytest.raises(ConfigError, match=r"Pulumi\.test\.yaml"):
        lab.up()
    with pytest.raises(ConfigError, match=r"Pulumi\.yaml does not exist"):
        Engine(lab.directory / "stacks", "test", lab.directory, "x", {})
