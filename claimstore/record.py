"""A claim's record: one msgpack array, from which comes what was put in, or the word that it is corrupt.

    [version, head, seal, body]

``head`` is msgpack too: [attributes, audience, encoding, size, sha256, chunks]. The seal is the SHA-256 of
claim ID and head, and the head holds the SHA-256 of the body: so it covers all, for 0.5 µs, and no record
passes for another claim's. The head stands in front, so a record's first `HEAD_LIMIT` bytes tell all but the
body.

The version is 1, or, of an encrypted record, [2, key] with the key's name. Then the head is a box, and so is
the body, which is bound to the seal, and so to the audience in the head. The seal covers the key's name too:
it tells damage from a key that is not set.
"""

import hashlib
from typing import Final, NamedTuple

import msgpack

from claimbus.events.errors import InvalidEventError
from claimbus.events.event import ALL, Audience, Event
from claimbus.events.sealing import NO_KEYS, BrokenBoxError, Cipher, Keys
from claimstore.claim import Claim, Encoding
from claimstore.compression import expand, shrink
from claimstore.encryption import admit_clear, decrypting
from claimstore.errors import ClaimCorruptError

KEY_LIMIT: Final = 64
"""Bytes from the start of a record that tell the key that it is encrypted with."""

HEAD_LIMIT: Final = 1 << 16
"""Bytes. The wire format's limits (eleven attributes, 1,000 participants) keep an event's head below."""

_FRAMING: Final = 128
"""Bytes of a record that are neither head nor body, a key's name among them, rounded up."""

_HEAD: Final = b"head"
"""The context of a head's box; a body's is the seal, which has another length."""

_UNREADABLE: Final = (ValueError, TypeError, msgpack.UnpackException)
"""What msgpack raises for bytes that it did not write."""


class Head(NamedTuple):
    """All that a record says but the body. ``size`` and ``sha256`` are those of the body as published."""

    attributes: dict[str, str]
    audience: Audience
    encoding: Encoding
    size: int
    sha256: bytes
    chunks: int


class _Opened(NamedTuple):
    """A head, and with which cipher the body is to be decrypted: None if it lies in clear."""

    head: Head
    cipher: Cipher | None


def inline_record(claim_id: str, event: Event, cipher: Cipher | None = None) -> bytes:
    """Return the record of an event with its body in it. Raises InvalidEventError for too large a head."""
    encoding, body = shrink(event.body)
    sha256 = hashlib.sha256(event.body).digest()
    head = Head(event.attributes(), event.audience, encoding, len(event.body), sha256, chunks=0)
    return _record(claim_id, head, body, cipher)


def chunked_record(
    claim_id: str,
    event: Event,
    cipher: Cipher | None = None,
    *,
    encoding: Encoding,
    size: int,
    sha256: bytes,
    chunks: int,
) -> bytes:
    """Return the record of an event whose body lies in chunks. Raises as `inline_record` does."""
    head = Head(event.attributes(), event.audience, encoding, size, sha256, chunks)
    return _record(claim_id, head, b"", cipher)


def read_record(claim_id: str, record: bytes, *, expires: int, keys: Keys = NO_KEYS) -> Claim:
    """Return the claim that a record holds.

    Raises ClaimCorruptError for anything that was not written so, and ClaimKeyMissingError.
    """
    try:
        version, packed, seal, stored = msgpack.unpackb(record)
    except _UNREADABLE as wrong:
        raise ClaimCorruptError(claim_id, "has a record that is no array of four") from wrong
    head, cipher = _open(claim_id, version, packed, seal, keys)
    body = _body(claim_id, head, stored if cipher is None else _decrypted(claim_id, cipher, stored, seal))
    try:
        event = Event.from_attributes(head.attributes, body, head.audience)
    except InvalidEventError as wrong:
        raise ClaimCorruptError(claim_id, f"holds no event ({wrong})") from wrong
    key = None if cipher is None else cipher.key
    return Claim(claim_id, event, head.size, head.sha256, head.encoding, head.chunks, expires, key)


def read_head(claim_id: str, start: bytes, keys: Keys = NO_KEYS) -> Head:
    """Return the head from a record's first `HEAD_LIMIT` bytes.

    Raises ClaimCorruptError and ClaimKeyMissingError.
    """
    version, packed, seal = _beginning(claim_id, start, 3)
    return _open(claim_id, version, packed, seal, keys).head


def read_key(claim_id: str, start: bytes) -> str | None:
    """Return the name of the key that a record is encrypted with, or None, from its first `KEY_LIMIT` bytes.

    Raises ClaimCorruptError.
    """
    (version,) = _beginning(claim_id, start, 1)
    return _key(claim_id, version)


def _record(claim_id: str, head: Head, body: bytes, cipher: Cipher | None) -> bytes:
    packed: bytes = msgpack.packb(head, default=sorted)  # msgpack knows no sets
    if len(packed) > HEAD_LIMIT - _FRAMING:
        raise InvalidEventError(
            "attributes", f"take {len(packed):,} bytes, with the audience, of {HEAD_LIMIT:,}"
        )
    record: bytes
    if cipher is None:
        record = msgpack.packb((1, packed, _seal(claim_id, packed), body))
    else:
        box = cipher.encrypt(packed, _HEAD)
        seal = _seal(claim_id, box, cipher.key)
        record = msgpack.packb(((2, cipher.key), box, seal, cipher.encrypt(body, seal)))
    return record


def _seal(claim_id: str, head: bytes, key: str = "") -> bytes:
    return hashlib.sha256(f"{claim_id}{key}".encode() + head).digest()


def _beginning(claim_id: str, start: bytes, count: int) -> list[object]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(start)
    try:
        unpacker.read_array_header()
        return [unpacker.unpack() for _ in range(count)]
    except _UNREADABLE as wrong:
        raise ClaimCorruptError(claim_id, "has a record that begins with no head") from wrong


def _open(claim_id: str, version: object, packed: object, seal: object, keys: Keys) -> _Opened:
    key = _key(claim_id, version)
    if not isinstance(packed, bytes) or seal != _seal(claim_id, packed, key or ""):
        raise ClaimCorruptError(claim_id, "has a head that its seal does not fit")
    if key is None:
        admit_clear(keys, claim_id)
        return _Opened(_head(claim_id, packed), None)
    cipher = decrypting(keys, claim_id, key)
    return _Opened(_head(claim_id, _decrypted(claim_id, cipher, packed, _HEAD)), cipher)


def _key(claim_id: str, version: object) -> str | None:
    match version:
        case 1:
            return None
        case [2, str(key)]:
            return key
        case _:
            raise ClaimCorruptError(claim_id, f"has a record of unknown version {version!r:.20}")


def _decrypted(claim_id: str, cipher: Cipher, box: object, context: bytes) -> bytes:
    if not isinstance(box, bytes):
        raise ClaimCorruptError(claim_id, "has a record with something else in place of a box")
    try:
        return cipher.decrypt(box, context)
    except BrokenBoxError as broken:
        raise ClaimCorruptError(claim_id, f"has a record that {broken.reason}") from broken


def _head(claim_id: str, packed: bytes) -> Head:
    try:
        head = Head(*msgpack.unpackb(packed))
        if head.audience != ALL:
            head = head._replace(audience=frozenset(head.audience))
    except _UNREADABLE as wrong:
        raise ClaimCorruptError(claim_id, "has a head of another layout") from wrong
    if not _is_whole(head):
        raise ClaimCorruptError(claim_id, "has a head of other values")
    return head


def _is_whole(head: Head) -> bool:
    """Tell whether each part is of its kind: whoever can write to Redis can seal anything."""
    match head:
        case Head(dict(attributes), _, "identity" | "zstd", int(size), bytes(sha256), int(chunks)):
            texts = (*attributes, *attributes.values(), *head.audience)
            return all(isinstance(text, str) for text in texts) and min(size, chunks, len(sha256) - 32) >= 0
    return False


def _body(claim_id: str, head: Head, stored: object) -> bytes:
    if not isinstance(stored, bytes) or (head.chunks and stored):
        raise ClaimCorruptError(claim_id, "has a record that ends with no body")
    if head.chunks:
        return b""
    try:
        body = expand(head.encoding, stored, limit=head.size)
    except ValueError as wrong:
        raise ClaimCorruptError(claim_id, f"has a body that {wrong}") from wrong
    if hashlib.sha256(body).digest() != head.sha256:
        raise ClaimCorruptError(claim_id, "has a body that its SHA-256 does not fit")
    return body
