"""Pulumi's passphrase secrets: PBKDF2-HMAC-SHA256 key, AES-256-GCM values, `v1:nonce:ciphertext` text.

Source: the Pulumi SDK's sdk/go/common/resource/config/crypt.go and its passphrase secrets manager.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from halab.embedded.engine.errors import PassphraseError

ITERATIONS = 1_000_000
SALT_BYTES = 8
NONCE_BYTES = 12
PROBE = "pulumi"

_keys: dict[tuple[str, bytes], bytes] = {}
_keys_lock = threading.Lock()


def _key(passphrase: str, salt: bytes) -> bytes:
    with _keys_lock:
        if (passphrase, salt) not in _keys:
            _keys[passphrase, salt] = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, ITERATIONS, 32)
        return _keys[passphrase, salt]


class Cipher:
    """Encrypts and decrypts with one passphrase and salt. `salt` is the text Pulumi stores as `encryptionsalt`."""

    def __init__(self, salt: str, key: bytes) -> None:
        self.salt = salt
        self._aead = AESGCM(key)

    @classmethod
    def new(cls, passphrase: str) -> Cipher:
        """A cipher with a fresh salt."""
        raw = os.urandom(SALT_BYTES)
        key = _key(passphrase, raw)
        probe = cls("", key).encrypt(PROBE)
        return cls(f"v1:{base64.b64encode(raw).decode()}:{probe}", key)

    @classmethod
    def open(cls, passphrase: str, salt: str, where: str) -> Cipher:
        """The cipher of a stored salt; `where` names its file for the error.

        Raises: PassphraseError when the passphrase is not the one the salt was made with, or the salt is malformed.
        """
        version, _, rest = salt.partition(":")
        encoded, _, probe = rest.partition(":")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raw = b""
        if version != "v1" or not raw:
            raise PassphraseError(f"the encryption salt in {where} is not in Pulumi's v1 format")
        cipher = cls(salt, _key(passphrase, raw))
        try:
            fits = cipher.decrypt(probe) == PROBE
        except PassphraseError:
            fits = False
        if not fits:
            raise PassphraseError(
                f"the passphrase does not open the secrets in {where}: "
                "set PULUMI_CONFIG_PASSPHRASE, or …_FILE, to the one that they were made with"
            )
        return cipher

    def encrypt(self, text: str) -> str:
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._aead.encrypt(nonce, text.encode(), None)
        return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"

    def decrypt(self, text: str) -> str:
        """The plaintext.

        Raises: PassphraseError when the text was not encrypted with this key or is damaged.
        """
        try:
            version, nonce, sealed = text.split(":")
            if version != "v1":
                raise ValueError(version)
            opened = self._aead.decrypt(base64.b64decode(nonce), base64.b64decode(sealed), None)
        except (ValueError, InvalidTag) as error:
            raise PassphraseError("a stored secret cannot be decrypted with this passphrase") from error
        return opened.decode()
