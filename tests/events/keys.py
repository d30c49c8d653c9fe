"""Encryption keys to test with, as text and as what it is read to."""

import base64

from claimbus.events.sealing import Keys


def key(key_id: str, byte: int) -> str:
    """A key of 32 equal bytes, as the setting spells it."""
    return f"{key_id}:{base64.b64encode(bytes([byte]) * 32).decode()}"


OLD, NEW, OTHER = key("old", 1), key("new", 2), key("old", 3)
"""Two keys, and one that has the ID of the first but other bytes."""


def keys(*parts: str, required: bool = False) -> Keys:
    return Keys.parse(",".join(parts), required=required)
