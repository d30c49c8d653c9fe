"""An event: CloudEvents 1.0 attributes, a body, and who may see it."""

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from claimbus.events.errors import InvalidEventError

Audience = Literal["all"] | frozenset[str]
"""Who may see an event: everybody, or a set of participant IDs."""

ALL: Final[Literal["all"]] = "all"

MAX_ID_LENGTH: Final = 128
MAX_ATTRIBUTE_BYTES: Final = 1024
MAX_SEQUENCE: Final = 2**63 - 1
"""What fits a signed 64-bit AMQP header."""
MAX_AUDIENCE: Final = 1000
"""``BCC`` with 1,000 keys works, 2,000 close the connection (RabbitMQ 3.10 and 4.0, frame size 128 KiB)."""

_TYPE = re.compile(r"[a-z]+(?:-[a-z]+)*(?:\.[a-z]+(?:-[a-z]+)*){2}")
_PARTICIPANT = re.compile(r"[A-Z][A-Z0-9_]{1,31}")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = rf'{_WORD}=(?:{_WORD}|"(?:[^"\\]|\\.)*")'
_CONTENT_TYPE = re.compile(rf"{_WORD}/{_WORD}(?: *;(?: *{_PARAMETER})?)* *")
"""RFC 9110, section 8.3.1. No space can be matched in two ways, so a hostile one takes no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    Attributes carry their CloudEvents names. ``time`` is aware. ``sequence`` is the version of the thing
    named by ``partitionkey`` (an outage), compared as a number. ``body`` is opaque bytes of
    ``datacontenttype``. The audience never leaves the ISO's machines: it would name the other recipients.
    """

    type: str
    source: str
    id: str
    time: datetime
    body: bytes
    audience: Audience
    datacontenttype: str = "application/json"
    subject: str | None = None
    dataschema: str | None = None
    partitionkey: str | None = None
    sequence: int | None = None
    traceparent: str | None = None

    @property
    def identity(self) -> str:
        """See `identity`."""
        return identity(self.source, self.id)

    def attributes(self) -> dict[str, str]:
        """CloudEvents attributes in their string form, ``specversion`` included, absent ones left out."""
        found = {"specversion": "1.0", "id": self.id, "source": self.source, "type": self.type}
        found["time"] = format_time(self.time)
        found["datacontenttype"] = self.datacontenttype
        for name in ("subject", "dataschema", "partitionkey", "traceparent"):
            value = getattr(self, name)
            if value is not None:
                found[name] = value
        if self.sequence is not None:
            found["sequence"] = str(self.sequence)
        return found

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, str], body: bytes, audience: Audience) -> "Event":
        """Rebuild an event from `attributes`. Raises InvalidEventError naming the attribute at fault."""
        try:
            return cls(
                type=attributes["type"],
                source=attributes["source"],
                id=attributes["id"],
                time=parse_time(attributes["time"]),
                body=body,
                audience=audience,
                datacontenttype=attributes.get("datacontenttype", "application/json"),
                subject=attributes.get("subject"),
                dataschema=attributes.get("dataschema"),
                partitionkey=attributes.get("partitionkey"),
                sequence=_sequence(attributes.get("sequence")),
                traceparent=attributes.get("traceparent"),
            )
        except KeyError as missing:
            raise InvalidEventError(str(missing.args[0]), "is required") from missing


def identity(source: str, event_id: str) -> str:
    """Return the one identity of an event, over retries, replays and recoveries.

    ``source`` and ``id`` together name an event (CloudEvents 1.0, section 3.1); two systems may use one ID.
    144 bits of SHA-256, URL-safe, so it fits ``webhook-id`` and AMQP ``message_id`` as it is.
    """
    digest = hashlib.sha256(f"{source}\n{event_id}".encode()).digest()
    return "evt_" + base64.urlsafe_b64encode(digest[:18]).decode()


def new_id() -> str:
    """Return a random event ID of 128 bits, URL-safe."""
    return secrets.token_urlsafe(16)


def audience_of(participants: Iterable[str]) -> Audience:
    """Return the audience of these participant IDs. Raises InvalidEventError for a malformed one."""
    names = frozenset(participants)
    if not names:
        raise InvalidEventError("audience", "is empty; name at least one participant, or all")
    if len(names) > MAX_AUDIENCE:
        raise InvalidEventError(
            "audience", f"has {len(names)} participants of at most {MAX_AUDIENCE}; split it"
        )
    for name in sorted(names):
        if not is_participant_id(name):
            raise InvalidEventError("audience", f"{name!r} is no participant ID ([A-Z][A-Z0-9_]{{1,31}})")
    return names


def is_participant_id(name: str) -> bool:
    """Tell whether this is a well-formed scheduling coordinator ID."""
    return _PARTICIPANT.fullmatch(name) is not None


def is_event_type(name: str) -> bool:
    """Tell whether this is three dotted words of lower-case letters and hyphens."""
    return _TYPE.fullmatch(name) is not None


def _sequence(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_SEQUENCE))):
        raise InvalidEventError("sequence", f"is no whole number from 0 to {MAX_SEQUENCE}")
    return int(text)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with ``Z``, microseconds only when there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Parse RFC 3339. Raises InvalidEventError when it is malformed or has no offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise InvalidEventError("time", f"{text!r} is not RFC 3339") from wrong
    if moment.tzinfo is None:
        raise InvalidEventError("time", f"{text!r} has no UTC offset")
    return moment.astimezone(UTC)


def check(event: Event) -> None:
    """Check the wire format's limits (not the catalogue's). Raises InvalidEventError with the field."""
    if not is_event_type(event.type):
        raise InvalidEventError("type", f"{event.type!r} is not of the form domain.noun.event")
    if not 0 < len(event.id) <= MAX_ID_LENGTH:
        raise InvalidEventError("id", f"must have 1 to {MAX_ID_LENGTH} characters, has {len(event.id)}")
    if event.time.utcoffset() is None:
        raise InvalidEventError("time", "is naive; give it a time zone")
    if event.sequence is not None and not 0 <= event.sequence <= MAX_SEQUENCE:
        raise InvalidEventError("sequence", f"is no whole number from 0 to {MAX_SEQUENCE}")
    if event.audience != ALL:
        audience_of(event.audience)
    _check_texts(event)
    if _CONTENT_TYPE.fullmatch(event.datacontenttype) is None:
        what = f"{event.datacontenttype!r:.100} is not of the form type/subtype, such as application/json"
        raise InvalidEventError("datacontenttype", what)


def _check_texts(event: Event) -> None:
    for name, value in event.attributes().items():
        if not value:
            raise InvalidEventError(name, "is empty")
        if len(value.encode()) > MAX_ATTRIBUTE_BYTES:
            raise InvalidEventError(name, f"is longer than {MAX_ATTRIBUTE_BYTES} bytes")
        if not value.isprintable():
            raise InvalidEventError(name, "has a control character")
