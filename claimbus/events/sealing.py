"""Encryption of what is kept: AES-256-GCM under keys that have IDs. The first encrypts, all of them decrypt.

No key encrypts anything itself: a claim, an endpoint, whatever has something to keep, has a key of its own,
derived from one of them and its name by HKDF-Expand with SHA-256 (RFC 5869; 2 µs, cipher included). So a box
of one thing never opens for another, and random nonces of 96 bits need to differ among the boxes of one thing
only. NIST SP 800-38D (8.3) allows 2^32 of these; a claim of 64 MiB takes 257. A key does not wear out.
"""

import base64
import hmac
import os
import re
from collections.abc import Iterable
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from claimbus.events.errors import ClaimbusError, ConfigurationError, UnavailableError

SETTING: Final = "CLAIMBUS_ENCRYPTION_KEYS"
REQUIRED: Final = "CLAIMBUS_ENCRYPTION_REQUIRED"

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
BOX_BYTES: Final = NONCE_BYTES + 16
"""By how much a box is longer than what is in it: nonce and tag."""

MAX_ID: Final = 32
"""Characters of a key's ID. Its name in what it encrypted has nine more."""

_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_ID}}}")


class KeyMissingError(UnavailableError):
    """Something is encrypted with a key that is not set. Once it is, trying again succeeds."""

    def __init__(self, thing: str, key: str) -> None:
        super().__init__(f"{thing} is encrypted with key {key}, which {SETTING} does not have")
        self.thing = thing
        self.key = key


class BrokenBoxError(ClaimbusError):
    """A box that was not encrypted by this key for this thing and context, or was changed since."""

    def __init__(self, thing: str, reason: str) -> None:
        super().__init__(f"{thing} {reason}")
        self.thing = thing
        self.reason = reason


class Cipher:
    """Encrypts and decrypts for one ``thing``, under one key, whose name is ``key``."""

    __slots__ = ("_aead", "key", "thing")

    def __init__(self, thing: str, key: str, derived: bytes) -> None:
        self.thing = thing
        self.key = key
        self._aead = AESGCM(derived)

    def encrypt(self, data: bytes, context: bytes) -> bytes:
        """Return a box: nonce, encrypted data, tag. It opens in the same ``context`` only."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, data, context)

    def decrypt(self, box: bytes, context: bytes) -> bytes:
        """Return what is in a box. Raises BrokenBoxError."""
        if len(box) < BOX_BYTES:
            raise BrokenBoxError(self.thing, "is too short to be encrypted")
        try:
            return self._aead.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], context)
        except InvalidTag as wrong:
            raise BrokenBoxError(self.thing, "is not what was encrypted") from wrong


class Keys:
    """The keys by their names, perhaps none. They appear in no repr.

    A key's name is its ID with a check of its bytes, so that other bytes under the same ID are a missing key,
    not broken data. If they are ``required``, what lies in clear is refused: whoever can write where things
    are kept could else put it there in place of what was encrypted.
    """

    __slots__ = ("_keys", "first", "required")

    def __init__(self, keys: Iterable[tuple[str, bytes]] = (), *, required: bool = False) -> None:
        """Take IDs with keys of 32 bytes; ``first`` is the name of the one that encrypts, if there is one."""
        self.required: Final = required
        self._keys: Final = {f"{id_}.{_derived(key, 'check')[:4].hex()}": key for id_, key in keys}
        self.first: Final = next(iter(self._keys), None)

    @classmethod
    def parse(cls, text: str, *, required: bool = False) -> Self:
        """Read ``id:key,id2:key2``, each 32 bytes in Base64. Raises ConfigurationError, quoting none."""
        found: dict[str, bytes] = {}
        for part in filter(None, map(str.strip, text.split(","))):
            key_id, colon, encoded = part.partition(":")
            if not colon or not _ID.fullmatch(key_id):
                reason = f"a key has no ID of 1 to {MAX_ID} letters, digits, - or _ and a colon before it"
                raise ConfigurationError(SETTING, reason)
            if key_id in found:
                raise ConfigurationError(SETTING, f"has the ID {key_id} twice")
            found[key_id] = _decoded(key_id, encoded)
        if required and not found:
            raise ConfigurationError(REQUIRED, f"needs {SETTING}: without a key all is in clear")
        return cls(found.items(), required=required)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"Keys({', '.join(self._keys)})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys, in their order."""
        return tuple(self._keys)

    def admit_clear(self, thing: str) -> None:
        """Raise BrokenBoxError, for a thing that lies in clear, if these keys are required."""
        if self.required:
            raise BrokenBoxError(thing, f"lies in clear, which {REQUIRED} refuses")

    def encrypting(self, thing: str) -> Cipher | None:
        """Return the cipher that encrypts for a thing, known by a name of its own; None without keys."""
        return None if self.first is None else self.decrypting(thing, self.first)

    def decrypting(self, thing: str, key: str) -> Cipher:
        """Return the cipher of the key with this name for a thing. Raises KeyMissingError."""
        try:
            return Cipher(thing, key, _derived(self._keys[key], thing))
        except KeyError:
            raise KeyMissingError(thing, key) from None


NO_KEYS: Final = Keys()


def _derived(key: bytes, thing: str) -> bytes:
    """Return the key of a thing: HKDF-Expand of 32 bytes. The key is random, so it needs no extraction."""
    return hmac.digest(key, b"claimbus " + thing.encode() + b"\x01", "sha256")


def _decoded(key_id: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded.translate({ord("-"): "+", ord("_"): "/"}), validate=True)
    except ValueError:  # not chained: the cause may quote the key
        raise ConfigurationError(SETTING, f"the key {key_id} is no Base64") from None
    if len(key) != KEY_BYTES:
        raise ConfigurationError(SETTING, f"the key {key_id} has {len(key)} bytes, not {KEY_BYTES}")
    return key
