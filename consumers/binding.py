"""An event in HTTP: the CloudEvents 1.0 HTTP binding, and what announces that its type is being retired."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final
from urllib.parse import quote

from claimbus.events.errors import InvalidEventError
from claimbus.events.event import Event

EventHeaders = Mapping[str, str]

STRUCTURED: Final = "application/cloudevents+json"

_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""What stands for itself in a ``ce-`` header (CloudEvents HTTP binding 1.0.2, section 3.1.3.2)."""


def event_headers(
    event: Event, *, deprecation: datetime | None = None, sunset: datetime | None = None
) -> EventHeaders:
    """Return the headers of binary mode. They are the same for every endpoint, for a caller to keep.

    Raises InvalidEventError when the content type cannot stand in a header.
    """
    attributes = event.attributes()
    content_type = attributes.pop("datacontenttype")
    if not (content_type.isascii() and content_type.isprintable()):
        raise InvalidEventError("datacontenttype", "must be printable ASCII")
    headers = {f"ce-{name}": quote(value, safe=_PLAIN) for name, value in attributes.items()}
    return {"content-type": content_type} | headers | retirement_headers(deprecation, sunset)


def claim_body(event: Event, dataref: str) -> bytes:
    """Return the event in structured mode without its data, but with where that is to be fetched."""
    return json.dumps(event.attributes() | {"dataref": dataref}, ensure_ascii=False).encode()


def retirement_headers(deprecation: datetime | None, sunset: datetime | None) -> dict[str, str]:
    """Return ``deprecation`` (RFC 9745) and ``sunset`` (RFC 8594) for dates with a time zone."""
    headers = {}
    if deprecation is not None:
        headers["deprecation"] = f"@{int(deprecation.timestamp())}"
    if sunset is not None:
        headers["sunset"] = format_datetime(sunset.astimezone(UTC), usegmt=True)
    return headers
