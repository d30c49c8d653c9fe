"""A ticket: what travels on RabbitMQ in place of the body.

AMQP body = the claim ID in ASCII. Everything else a worker needs before it redeems the claim is in the
properties and in a few scalar headers: no body, no hash of it, no audience beyond the routing keys.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from claimbus.events.errors import InvalidTicketError

CONTENT_TYPE: Final = "application/vnd.claimbus.ticket"
MAX_CLAIM_ID_LENGTH: Final = 64
MAX_TEXT: Final = 1024
"""Characters of a text header: as much as an event's attribute may have."""

_CLAIM_ID: Final = re.compile(rb"[A-Za-z0-9_-]+")

HeaderValue = str | int | list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A claim ID and the few facts needed before redeeming it.

    Times are whole seconds since the epoch. ``released`` is when the delivery's age begins: the publish, or
    the replay or recovery that set it anew. ``endpoint`` and ``attempt`` (the number of attempts already
    made) are there on retries, replays and recoveries, ``replay`` names the replay job.
    """

    claim_id: str
    message_id: str
    type: str
    timestamp: int
    expires: int
    partitionkey: str | None = None
    sequence: int | None = None
    traceparent: str | None = None
    endpoint: str | None = None
    attempt: int = 0
    released: int | None = None
    replay: str | None = None

    @property
    def age_begins(self) -> int:
        """Return the second from which the delivery's age is counted."""
        return self.timestamp if self.released is None else self.released

    def body(self) -> bytes:
        """Return the AMQP body."""
        return self.claim_id.encode("ascii")

    def headers(self) -> dict[str, HeaderValue]:
        """Return the AMQP headers, without ``BCC``, which belongs to the routing."""
        found: dict[str, HeaderValue] = {"expires": self.expires}
        if self.partitionkey is not None:
            found["partitionkey"] = self.partitionkey
        if self.sequence is not None:
            found["sequence"] = self.sequence
        if self.traceparent is not None:
            found["traceparent"] = self.traceparent
        if self.endpoint is not None:
            found["endpoint"] = self.endpoint
        if self.attempt:
            found["attempt"] = self.attempt
        if self.released is not None:
            found["released"] = self.released
        if self.replay is not None:
            found["replay"] = self.replay
        return found


def decode(
    body: bytes,
    *,
    message_id: str | None,
    type_: str | None,
    timestamp: int | None,
    headers: Mapping[str, object],
) -> Ticket:
    """Read a ticket back from AMQP. Raises InvalidTicketError naming the part at fault."""
    if not (len(body) <= MAX_CLAIM_ID_LENGTH and _CLAIM_ID.fullmatch(body)):
        raise InvalidTicketError("body", f"is no claim ID ({len(body)} bytes)")
    if not (message_id and message_id.isprintable()):
        raise InvalidTicketError("message_id", "is missing, or not printable")
    if not (type_ and type_.isprintable()):
        raise InvalidTicketError("type", "is missing, or not printable")
    if timestamp is None:
        raise InvalidTicketError("timestamp", "is missing")
    get = headers.get
    return Ticket(
        claim_id=body.decode("ascii"),
        message_id=message_id,
        type=type_,
        timestamp=timestamp,
        expires=_required(_number(get("expires"), "expires"), "expires"),
        partitionkey=_text(get("partitionkey"), "partitionkey"),
        sequence=_number(get("sequence"), "sequence"),
        traceparent=_text(get("traceparent"), "traceparent"),
        endpoint=_text(get("endpoint"), "endpoint"),
        attempt=_number(get("attempt"), "attempt", 2**31) or 0,
        released=_number(get("released"), "released"),
        replay=_text(get("replay"), "replay"),
    )


def _text(value: object, name: str) -> str | None:
    if value is None or (isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable()):
        return value
    raise InvalidTicketError(name, f"is no printable string of at most {MAX_TEXT} characters")


def _number(value: object, name: str, limit: int = 2**63) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < limit):
        return value
    raise InvalidTicketError(name, f"is no whole number from 0 to under {limit}")


def _required(value: int | None, name: str) -> int:
    if value is None:
        raise InvalidTicketError(name, "is missing")
    return value
