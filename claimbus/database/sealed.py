"""What is encrypted in rows, if there are keys: endpoints' secrets, and parked events.

What lies in clear stays readable once there are keys, unless these are required; `claimbus.database.rekey`
encrypts it.
"""

import base64
import json
from typing import Any, Final

from sqlalchemy import Connection

from claimbus.events.sealing import NO_KEYS, BrokenBoxError, Cipher, Keys

KEYS: Final = "claimbus_keys"
"""The execution option by which a connection knows the keys."""

SEALED: Final = "sealed:"
"""What encrypted text begins with, and no secret and no resource ID; the key's name and the box follow."""

Row = dict[str, Any]
"""Columns of a row by their names."""


def prefix(key: str) -> str:
    """Return what text begins with that is encrypted with the key of this name."""
    return f"{SEALED}{key}:"


def key_of(stored: str) -> str | None:
    """Return the name of the key that text is encrypted with, None if it lies in clear."""
    return stored.removeprefix(SEALED).partition(":")[0] if stored.startswith(SEALED) else None


def keys_of(connection: Connection) -> Keys:
    """Return the keys that the database was opened with."""
    keys: Keys = connection.get_execution_options().get(KEYS, NO_KEYS)
    return keys


def stored_secret(connection: Connection, endpoint_id: str, value: str) -> str:
    """Return an endpoint's secret as it is to be stored."""
    cipher = keys_of(connection).encrypting(f"endpoint {endpoint_id}")
    return value if cipher is None else _sealed(cipher, value, "secret")


def secret(connection: Connection, endpoint_id: str, stored: str) -> str:
    """Return an endpoint's secret as it is. Raises KeyMissingError and BrokenBoxError."""
    keys, thing, key = keys_of(connection), f"endpoint {endpoint_id}", key_of(stored)
    if key is None:
        keys.admit_clear(thing)
        return stored
    return _unsealed(keys.decrypting(thing, key), stored, "secret")


def stored_parked(connection: Connection, row: Row) -> Row:
    """Return the row of a parked event as it is to be stored: resource, attributes and body encrypted."""
    cipher = keys_of(connection).encrypting(f"parked event {row['message_id']}")
    if cipher is None:
        return row
    return row | {
        "resource_id": _sealed(cipher, row["resource_id"], "resource"),
        "attributes": _sealed(cipher, json.dumps(row["attributes"]), "attributes"),
        "body": cipher.encrypt(row["body"], b"body"),
    }


def parked(connection: Connection, stored: Row) -> Row:
    """Return the row of a parked event, with or without its body, as it is. Raises as `secret` does."""
    keys, thing, key = (
        keys_of(connection),
        f"parked event {stored['message_id']}",
        key_of(stored["resource_id"]),
    )
    if key is None:
        keys.admit_clear(thing)
        return stored
    cipher = keys.decrypting(thing, key)
    row = stored | {
        "resource_id": _unsealed(cipher, stored["resource_id"], "resource"),
        "attributes": json.loads(_unsealed(cipher, stored["attributes"], "attributes")),
    }
    if "body" in stored:
        row["body"] = cipher.decrypt(stored["body"], b"body")
    return row


def _sealed(cipher: Cipher, text: str, context: str) -> str:
    box = cipher.encrypt(text.encode(), context.encode())
    return prefix(cipher.key) + base64.b64encode(box).decode()


def _unsealed(cipher: Cipher, stored: str, context: str) -> str:
    try:
        box = base64.b64decode(stored.rpartition(":")[2], validate=True)
    except ValueError as wrong:
        raise BrokenBoxError(cipher.thing, f"has no Base64 in place of its {context}") from wrong
    return cipher.decrypt(box, context.encode()).decode()
