"""The frames of ``claimbus.v1``: what travels on ``/v1/endpoints/{id}/stream``.

Each frame is one binary WebSocket message: a msgpack map. The ISO's side sends `Delivery`, the participant's
side answers each with `Ack` or `Nack`. Keys that are not known are passed over, so either side may be newer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import msgpack

from claimbus.events.errors import InvalidInputError

SUBPROTOCOL: Final = "claimbus.v1"

MAX_BODY: Final = 1024 * 1024
"""Bytes of a body that travels in its frame; a larger one is fetched by its ``dataref``."""
MAX_FRAME: Final = MAX_BODY + 64 * 1024
"""Bytes of a whole frame: a longer one is refused unread."""
MAX_NUMBER: Final = 2**63 - 1
MAX_REASON: Final = 200
"""Characters of a nack's reason."""

MAX_PREFETCH: Final = 256
DEFAULT_PREFETCH: Final = 32

PING_INTERVAL: Final = 20.0
"""Seconds between pings."""
PING_TIMEOUT: Final = 20.0
"""Seconds without an answer after which a connection counts as dead."""


class CloseCode(IntEnum):
    """Why a stream was closed."""

    DONE = 1000
    STOPPING = 1001
    MALFORMED = 1002
    UNAVAILABLE = 1013
    UNAUTHENTICATED = 4401
    NOT_ENTITLED = 4403
    UNKNOWN = 4404
    UNANSWERED = 4408
    NO_STREAM = 4409
    DISABLED = 4410
    TOO_MANY = 4429

    @property
    def meaning(self) -> str:
        """The code in words, for people: what the closing side gives as the reason."""
        return _MEANINGS[self]


_MEANINGS: Final = {
    CloseCode.DONE: "the subscriber is done",
    CloseCode.STOPPING: "the portal stops",
    CloseCode.MALFORMED: "a frame was malformed",
    CloseCode.UNAVAILABLE: "a service behind the portal is away",
    CloseCode.UNAUTHENTICATED: "not authenticated: no valid certificate or token was shown",
    CloseCode.NOT_ENTITLED: "it is no endpoint of yours",
    CloseCode.UNKNOWN: "there is no such endpoint",
    CloseCode.UNANSWERED: "a delivery was not answered for too long",
    CloseCode.NO_STREAM: "the endpoint is no stream, or was removed",
    CloseCode.DISABLED: "the endpoint is disabled until somebody enables it",
    CloseCode.TOO_MANY: "too many streams of this participant are open, or they are opened too often",
}


class MalformedFrameError(InvalidInputError):
    """Bytes that are no frame of this protocol; ``field`` names the key at fault, or ``frame``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for the endpoint of this stream.

    ``delivery`` numbers it within its connection and is what is answered. ``attempt`` counts from 1.
    ``message_id`` is the event's identity, which never changes: what to dedupe by. ``event`` holds the
    CloudEvents attributes in their string form. Either ``body`` is there or ``dataref``, the URL to fetch it
    from. ``replay`` names the replay job. ``deprecation`` and ``sunset`` are there when the event's type is
    being retired, in the form of the HTTP headers of these names.
    """

    delivery: int
    attempt: int
    message_id: str
    event: Mapping[str, str]
    body: bytes | None = None
    dataref: str | None = None
    replay: str | None = None
    deprecation: str | None = None
    sunset: str | None = None

    def encode(self) -> bytes:
        """Return the frame."""
        found: dict[str, object] = {
            "delivery": self.delivery,
            "attempt": self.attempt,
            "replay": self.replay,
            "message_id": self.message_id,
            "event": self.event,
            "body": self.body,
        }
        if self.dataref is not None:
            found["dataref"] = self.dataref
        if self.deprecation is not None:
            found["deprecation"] = self.deprecation
        if self.sunset is not None:
            found["sunset"] = self.sunset
        return _packed(found)


@dataclass(frozen=True, slots=True)
class Ack:
    """This delivery was taken: it never comes again."""

    delivery: int

    def encode(self) -> bytes:
        """Return the frame."""
        return _packed({"ack": self.delivery})


@dataclass(frozen=True, slots=True)
class Nack:
    """This delivery could not be taken: a failed attempt, to be made again later. One line says why."""

    delivery: int
    reason: str

    def encode(self) -> bytes:
        """Return the frame."""
        return _packed({"nack": self.delivery, "reason": self.reason})


def decode_delivery(frame: bytes | str) -> Delivery:
    """Read what the ISO's side sends. Raises MalformedFrameError."""
    found = _unpacked(frame)
    if "delivery" not in found:
        raise MalformedFrameError("frame", "is no delivery")
    body, dataref = found.get("body"), _optional(found, "dataref")
    if body is not None and not isinstance(body, bytes):
        raise MalformedFrameError("body", "is not binary")
    if (body is None) == (dataref is None):
        raise MalformedFrameError("body", "must be there, or a dataref in its place, and not both")
    return Delivery(
        delivery=_number(found, "delivery"),
        attempt=_number(found, "attempt"),
        message_id=_text(found, "message_id"),
        event=_attributes(found.get("event")),
        body=body,
        dataref=dataref,
        replay=_optional(found, "replay"),
        deprecation=_optional(found, "deprecation"),
        sunset=_optional(found, "sunset"),
    )


def decode_answer(frame: bytes | str) -> Ack | Nack:
    """Read what the participant's side sends. Raises MalformedFrameError."""
    found = _unpacked(frame)
    if ("ack" in found) == ("nack" in found):
        raise MalformedFrameError("frame", "must be an ack or a nack")
    if "ack" in found:
        return Ack(_number(found, "ack"))
    reason = _text(found, "reason")
    if len(reason) > MAX_REASON:
        raise MalformedFrameError("reason", f"is longer than {MAX_REASON} characters")
    return Nack(_number(found, "nack"), reason)


_packed: Final[Callable[[object], bytes]] = msgpack.packb


def _unpacked(frame: bytes | str) -> dict[str, Any]:
    if isinstance(frame, str):
        raise MalformedFrameError("frame", "is a text message, not a binary one")
    if len(frame) > MAX_FRAME:
        raise MalformedFrameError("frame", f"has {len(frame)} bytes of at most {MAX_FRAME}")
    try:
        found = msgpack.unpackb(frame)
    except (ValueError, msgpack.UnpackException) as wrong:
        raise MalformedFrameError("frame", "is no msgpack") from wrong
    if not isinstance(found, dict):
        raise MalformedFrameError("frame", "is no map")
    return found


def _number(found: Mapping[str, object], name: str) -> int:
    value = found.get(name)
    if type(value) is not int or not 1 <= value <= MAX_NUMBER:
        raise MalformedFrameError(name, f"must be a whole number from 1 to {MAX_NUMBER}")
    return value


def _text(found: Mapping[str, object], name: str) -> str:
    value = found.get(name)
    if not (isinstance(value, str) and value and value.isprintable()):
        raise MalformedFrameError(name, "must be printable text")
    return value


def _optional(found: Mapping[str, object], name: str) -> str | None:
    return None if found.get(name) is None else _text(found, name)


def _attributes(found: object) -> dict[str, str]:
    """Return attributes; whether they make an event is for who reads it to say: that can be nacked."""
    if not isinstance(found, dict):
        raise MalformedFrameError("event", "must be a map of attributes")
    for name, value in found.items():
        if type(name) is not str or type(value) is not str:
            raise MalformedFrameError("event", "must have text for names and for values")
    return found
