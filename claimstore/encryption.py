"""Which cipher a claim has, to encrypt and to decrypt, and how single values lie encrypted."""

from functools import lru_cache
from typing import Final

import structlog

from claimbus.events.sealing import BrokenBoxError, Cipher, KeyMissingError, Keys
from claimstore.errors import ClaimCorruptError, ClaimKeyMissingError

SEALED: Final = b"sealed:"
"""What an encrypted value begins with; the key's name, a colon and the box follow."""

_log = structlog.get_logger("claimstore.encryption")


def encrypting(keys: Keys, claim_id: str) -> Cipher | None:
    """Return the cipher with which a claim is checked in; None without keys."""
    return keys.encrypting(f"claim {claim_id}")


def decrypting(keys: Keys, claim_id: str, key: str) -> Cipher:
    """Return the cipher of a claim that was encrypted with this key. Raises ClaimKeyMissingError."""
    return _cipher(keys, f"claim {claim_id}", key)


def admit_clear(keys: Keys, claim_id: str) -> None:
    """Raise ClaimCorruptError, for a claim that lies in clear, if the keys are required."""
    try:
        keys.admit_clear(f"claim {claim_id}")
    except BrokenBoxError as clear:
        raise ClaimCorruptError(claim_id, clear.reason) from clear


def stored(keys: Keys, thing: str, value: bytes, context: bytes) -> bytes:
    """Return a value of a thing as it is to be stored: encrypted if there are keys."""
    cipher = keys.encrypting(thing)
    return value if cipher is None else SEALED + cipher.key.encode() + b":" + cipher.encrypt(value, context)


def opened(keys: Keys, thing: str, value: bytes, context: bytes) -> bytes:
    """Return a stored value as it was. Raises ClaimKeyMissingError and BrokenBoxError."""
    key = key_of(value)
    if key is None:
        keys.admit_clear(thing)
        return value
    box = value[len(SEALED) + len(key) + 1 :]
    return _cipher(keys, thing, key).decrypt(box, context)


def key_of(value: bytes) -> str | None:
    """Return the name of the key that a stored value is encrypted with, None if it lies in clear."""
    if not value.startswith(SEALED):
        return None
    return value.removeprefix(SEALED).partition(b":")[0].decode("ascii", "backslashreplace")


def _cipher(keys: Keys, thing: str, key: str) -> Cipher:
    try:
        return keys.decrypting(thing, key)
    except KeyMissingError as missing:
        _report(key)
        raise ClaimKeyMissingError(str(missing), key) from missing


@lru_cache(maxsize=16)
def _report(key: str) -> None:
    """Log it, once for each key: the claims that lack it may be many, and come again and again."""
    _log.error("encryption key missing", key=key, next="its claims wait until the key is set")
