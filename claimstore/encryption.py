"""Which cipher a claim has, to encrypt and to decrypt."""

from functools import lru_cache

import structlog

from claimbus.events.sealing import Cipher, KeyMissingError, Keys
from claimstore.errors import ClaimKeyMissingError

_log = structlog.get_logger("claimstore.encryption")


def encrypting(keys: Keys, claim_id: str) -> Cipher | None:
    """Return the cipher with which a claim is checked in; None without keys."""
    return keys.encrypting(f"claim {claim_id}")


def decrypting(keys: Keys, claim_id: str, key: str) -> Cipher:
    """Return the cipher of a claim that was encrypted with this key. Raises ClaimKeyMissingError."""
    try:
        return keys.decrypting(f"claim {claim_id}", key)
    except KeyMissingError as missing:
        _report(key)
        raise ClaimKeyMissingError(str(missing), key) from missing


@lru_cache(maxsize=16)
def _report(key: str) -> None:
    """Log it, once for each key: the claims that lack it may be many, and come again and again."""
    _log.error("encryption key missing", key=key, next="its claims wait until the key is set")
