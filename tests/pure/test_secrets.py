"""Secrets from a seed: the same every time, none shared between stacks, and of the forms their users read."""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from components.secrets import ENDPOINT_PEM, FERNET, KEYS, Secrets

MADE = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = [*KEYS, *FERNET, "KEYSTONE_ADMIN", "RABBITMQ_HALAB"]
HOSTS, ADDRESSES = ["keystone.mine.halab"], [IPv4Address("10.1.2.20")]


@pytest.fixture
def other() -> Secrets:
    return Secrets(b"b" * 32, MADE)


def everything(secrets: Secrets) -> list[str]:
    values = [secrets.value(name) for name in NAMES]
    values += [secrets.ssh_private(name).splitlines()[-2] for name in ("client", "controller-1")]
    values += [secrets.ssh_public(name) for name in ("client", "controller-1")]
    pem = base64.b64decode(secrets.endpoint_pem(HOSTS, ADDRESSES)).decode()
    return [*values, *(block for block in pem.split("-----") if len(block) > 40), secrets.ca_pem]


def test_two_stacks_share_nothing(secrets: Secrets, other: Secrets) -> None:
    assert not set(everything(secrets)) & set(everything(other))


def test_no_two_secrets_of_a_stack_are_equal(secrets: Secrets) -> None:
    values = [secrets.value(name) for name in NAMES]
    assert len(values) == len(set(values))


def test_the_same_seed_always_gives_the_same(secrets: Secrets) -> None:
    assert everything(Secrets(secrets.seed, secrets.made)) == everything(secrets)


@pytest.mark.parametrize("name", NAMES)
def test_a_value_is_one_word_for_secrets_env(secrets: Secrets, name: str) -> None:
    value = secrets.value(name)
    assert value
    assert not set(value) & set(" \t\n'\"$`\\")


@pytest.mark.parametrize("name", KEYS)
def test_keys_have_the_sizes_their_daemons_want(secrets: Secrets, name: str) -> None:
    assert len(base64.b64decode(secrets.value(name))) == KEYS[name]


@pytest.mark.parametrize("name", FERNET)
def test_fernet_keys_are_fernet_keys(secrets: Secrets, name: str) -> None:
    from cryptography.fernet import Fernet

    key = Fernet(secrets.value(name))
    assert key.decrypt(key.encrypt(b"token")) == b"token"


def test_ssh_keygen_derives_the_public_key_from_the_private_one(secrets: Secrets, tmp_path: Path) -> None:
    for name in ("client", "controller-1"):
        path = tmp_path / name
        path.write_text(secrets.ssh_private(name))
        path.chmod(0o600)
        done = subprocess.run(["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == secrets.ssh_public(name)


def test_openssl_accepts_the_endpoint_certificate_for_its_names_under_the_ca(secrets: Secrets, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(secrets.ca_pem)
    (tmp_path / "endpoint.pem").write_bytes(base64.b64decode(secrets.endpoint_pem(HOSTS, ADDRESSES)))
    verify = ["openssl", "verify", "-CAfile", str(tmp_path / "ca.pem"), "-x509_strict", "-purpose", "sslserver"]
    verify += ["-attime", str(int(MADE.timestamp()) + 3600)]
    for check in (["-verify_hostname", HOSTS[0]], ["-verify_ip", str(ADDRESSES[0])]):
        done = subprocess.run([*verify, *check, str(tmp_path / "endpoint.pem")], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    wrong = subprocess.run([*verify, "-verify_hostname", "other", str(tmp_path / "endpoint.pem")], capture_output=True)
    assert wrong.returncode != 0


def test_the_private_key_beside_the_certificate_is_its_own(secrets: Secrets, tmp_path: Path) -> None:
    path = tmp_path / "endpoint.pem"
    path.write_bytes(base64.b64decode(secrets.endpoint_pem(HOSTS, ADDRESSES)))

    def public(*command: str) -> str:
        return subprocess.run(["openssl", *command], capture_output=True, text=True, check=True).stdout

    assert public("x509", "-in", str(path), "-noout", "-pubkey") == public("pkey", "-in", str(path), "-pubout")


def test_another_stacks_ca_does_not_accept_the_certificate(secrets: Secrets, other: Secrets, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(other.ca_pem)
    (tmp_path / "endpoint.pem").write_bytes(base64.b64decode(secrets.endpoint_pem(HOSTS, ADDRESSES)))
    command = ["openssl", "verify", "-CAfile", str(tmp_path / "ca.pem"), "-attime", str(int(MADE.timestamp()) + 3600)]
    assert subprocess.run([*command, str(tmp_path / "endpoint.pem")], capture_output=True).returncode != 0


def test_the_endpoint_certificate_is_not_a_plain_value(secrets: Secrets) -> None:
    with pytest.raises(ValueError, match="endpoint_pem"):
        secrets.value(ENDPOINT_PEM)
