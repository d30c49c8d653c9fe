"""A claim's record: one msgpack array, from which comes what was put in, or the word that it is corrupt.

    [version, head, seal, body]

``head`` is msgpack too: [attributes, audience, encoding, size, sha256, chunks]. The seal is the SHA-256 of
claim ID and head, and the head holds the SHA-256 of the body: so it covers all, for 0.5 µs, and no record
passes for another claim's. The head stands in front, so a record's first `HEAD_LIMIT` bytes tell all but the
body.
"""

import hashlib
from typing import Final, NamedTuple

import msgpack

from claimbus.events.errors import InvalidEventError
from claimbus.events.event import ALL, Audience, Event
from claimstore.claim import Claim, Encoding
from claimstore.compression import expand, shrink
from claimstore.errors import ClaimCorruptError

VERSION: Final = 1

HEAD_LIMIT: Final = 1 << 16
"""Bytes. The wire format's limits (eleven attributes, 1,000 participants) keep an event's head below."""

_FRAMING: Final = 64
"""Bytes of a record that are neither head nor body, rounded up."""

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


def inline_record(claim_id: str, event: Event) -> bytes:
    """Return the record of an event with its body in it. Raises InvalidEventError for too large a head."""
    encoding, body = shrink(event.body)
    sha256 = hashlib.sha256(event.body).digest()
    head = Head(event.attributes(), event.audience, encoding, len(event.body), sha256, chunks=0)
    return _record(claim_id, head, body)


def chunked_record(
    claim_id: str, event: Event, *, encoding: Encoding, size: int, sha256: bytes, chunks: int
) -> bytes:
    """Return the record of an event whose body lies in chunks. Raises as `inline_record` does."""
    return _record(claim_id, Head(event.attributes(), event.audience, encoding, size, sha256, chunks), b"")


def read_record(claim_id: str, record: bytes, *, expires: int) -> Claim:
    """Return the claim that a record holds. Raises ClaimCorruptError for anything that was not written so."""
    try:
        version, packed, seal, stored = msgpack.unpackb(record)
    except _UNREADABLE as wrong:
        raise ClaimCorruptError(claim_id, "has a record that is no array of four") from wrong
    head = _head(claim_id, version, packed, seal)
    body = _body(claim_id, head, stored)
    try:
        event = Event.from_attributes(head.attributes, body, head.audience)
    except InvalidEventError as wrong:
        raise ClaimCorruptError(claim_id, f"holds no event ({wrong})") from wrong
    return Claim(claim_id, event, head.size, head.sha256, head.encoding, head.chunks, expires)


def read_head(claim_id: str, start: bytes) -> Head:
    """Return the head from a record's first `HEAD_LIMIT` bytes. Raises ClaimCorruptError."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(start)
    try:
        unpacker.read_array_header()
        version, packed, seal = unpacker.unpack(), unpacker.unpack(), unpacker.unpack()
    except _UNREADABLE as wrong:
        raise ClaimCorruptError(claim_id, "has a record that begins with no head") from wrong
    return _head(claim_id, version, packed, seal)


def _record(claim_id: str, head: Head, body: bytes) -> bytes:
    packed: bytes = msgpack.packb(head, default=sorted)  # msgpack knows no sets
    if len(packed) > HEAD_LIMIT - _FRAMING:
        raise InvalidEventError(
            "attributes", f"take {len(packed):,} bytes, with the audience, of {HEAD_LIMIT:,}"
        )
    record: bytes = msgpack.packb((VERSION, packed, _seal(claim_id, packed), body))
    return record


def _seal(claim_id: str, packed: bytes) -> bytes:
    return hashlib.sha256(claim_id.encode() + packed).digest()


def _head(claim_id: str, version: object, packed: object, seal: object) -> Head:
    if version != VERSION:
        raise ClaimCorruptError(claim_id, f"has a record of version {version!r:.20}; known is {VERSION}")
    if not isinstance(packed, bytes) or seal != _seal(claim_id, packed):
        raise ClaimCorruptError(claim_id, "has a head that its seal does not fit")
    try:
        head = Head(*msgpack.unpackb(packed))
        return head if head.audience == ALL else head._replace(audience=frozenset(head.audience))
    except _UNREADABLE as wrong:
        raise ClaimCorruptError(claim_id, "has a head of another layout") from wrong


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
