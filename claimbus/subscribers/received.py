"""An event as a participant receives it, by webhook or stream."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, Final, NamedTuple

import orjson

from claimbus.events.errors import InvalidEventError
from claimbus.events.event import MAX_SEQUENCE, identity, parse_time
from claimbus.subscribers.errors import MalformedEventError

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of the largest body that the ISO sends, unless it was set up otherwise."""

_NAME: Final = re.compile(r"[a-z0-9]+")


class Request(NamedTuple):
    """A webhook's request as it was signed: its body, and the headers (in lower case) about the event."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One event, checked. Raises MalformedEventError when it is none.

    ``message_id`` is the event's one identity, over retries, replays and recoveries: dedupe by it.
    ``attempt`` counts from 1; ``replay`` names the replay job. ``attributes`` are those of CloudEvents 1.0 in
    their string form, with what properties give beside it. ``body`` is None when it must be fetched from
    ``dataref``, or lies in ``file``, where a daemon has put it for as long as the event is being taken.
    ``deprecation`` and ``sunset`` are HTTP's headers of these names, there when the event's type is being
    retired. ``request`` is there when it came by webhook.
    """

    message_id: str
    attributes: Mapping[str, str]
    body: bytes | None
    dataref: str | None = None
    attempt: int = 1
    replay: str | None = None
    deprecation: str | None = None
    sunset: str | None = None
    request: Request | None = field(default=None, repr=False, compare=False)
    file: IO[bytes] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self.attributes)
        if self.message_id != identity(self.source, self.id):
            raise MalformedEventError("id", "does not belong, with its source, to the message's ID")
        if [self.body, self.dataref, self.file].count(None) != 2:
            raise MalformedEventError("body", "must be there, or a dataref in its place, and not both")
        for name in ("dataref", "replay"):
            value = getattr(self, name)
            if value is not None and not (value and value.isprintable()):
                raise MalformedEventError(name, "is empty or has a control character")
        if self.attempt < 1:
            raise MalformedEventError("attempt", "must count from 1")

    @property
    def id(self) -> str:
        """The event's ID, unique within its source."""
        return self.attributes["id"]

    @property
    def source(self) -> str:
        """The ISO's system that emitted it."""
        return self.attributes["source"]

    @property
    def type(self) -> str:
        """``domain.noun.event``, such as ``oms.resource-outage.status-changed``."""
        return self.attributes["type"]

    @property
    def time(self) -> datetime | None:
        """When it happened, in UTC."""
        text = self.attributes.get("time")
        return None if text is None else parse_time(text)

    @property
    def subject(self) -> str | None:
        """What it is about."""
        return self.attributes.get("subject")

    @property
    def datacontenttype(self) -> str:
        """The body's content type."""
        return self.attributes.get("datacontenttype", "application/json")

    @property
    def dataschema(self) -> str | None:
        """The body's schema, with its version."""
        return self.attributes.get("dataschema")

    @property
    def partitionkey(self) -> str | None:
        """The thing whose versions `sequence` counts: the outage."""
        return self.attributes.get("partitionkey")

    @property
    def sequence(self) -> int | None:
        """The thing's version, to be compared as a number."""
        text = self.attributes.get("sequence")
        return None if text is None else int(text)

    @property
    def has_versions(self) -> bool:
        """Whether a newer version makes this one superfluous: an outage's status, never a market event."""
        return self.type.startswith("oms.") and self.partitionkey is not None and self.sequence is not None

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body's JSON value. Raises MalformedEventError when it is not JSON, or not here."""
        try:
            return orjson.loads(self.body or b"")
        except orjson.JSONDecodeError as wrong:
            raise MalformedEventError("body", "is not JSON in UTF-8") from wrong


def _check(attributes: Mapping[str, str]) -> None:
    for name, value in attributes.items():
        if not _NAME.fullmatch(name):
            raise MalformedEventError("attributes", "one's name is not of lower-case letters and digits")
        if not (value and value.isprintable()):
            raise MalformedEventError(name, "is empty or has a control character")
    for name in ("id", "source", "type"):
        if name not in attributes:
            raise MalformedEventError(name, "is required")
    if attributes.get("specversion", "1.0") != "1.0":
        raise MalformedEventError("specversion", "is not 1.0")
    digits = attributes.get("sequence", "0")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and int(digits) <= MAX_SEQUENCE):
        raise MalformedEventError("sequence", f"is no whole number from 0 to {MAX_SEQUENCE}")
    try:
        parse_time(attributes.get("time", "2000-01-01T00:00:00Z"))
    except InvalidEventError as wrong:
        raise MalformedEventError(wrong.field, wrong.reason) from wrong
