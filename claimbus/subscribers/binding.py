"""Events in HTTP: the CloudEvents 1.0 HTTP binding, as the ISO posts it."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

import orjson

from claimbus.subscribers.errors import MalformedEventError
from claimbus.subscribers.received import Received, Request

STRUCTURED: Final = "application/cloudevents+json"

_KEPT: Final = re.compile(r"(?:ce|webhook|claimbus)-.*|content-type|deprecation|sunset|traceparent")
"""The headers that say something about the event, not about the connection."""
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""What stands for itself in a ``ce-`` header (CloudEvents HTTP binding 1.0.2, section 3.1.3.2)."""


def received(headers: Mapping[str, str], body: bytes) -> Received:
    """Read a webhook's request, whose signature is verified already. Raises MalformedEventError.

    The names of ``headers`` are in lower case. In binary mode the body is the event's; in structured mode it
    holds the attributes and, as ``dataref``, where the event's body is to be fetched.
    """
    content_type = headers.get("content-type")
    structured = content_type is not None and content_type.partition(";")[0].strip().lower() == STRUCTURED
    attributes = _structured(body) if structured else _binary(headers)
    dataref = attributes.pop("dataref", None) if structured else None
    if not structured and content_type:
        attributes["datacontenttype"] = content_type
    return Received(
        message_id=headers.get("webhook-id", ""),
        attributes=attributes,
        body=None if structured else body,
        dataref=dataref,
        attempt=_attempt(headers.get("claimbus-attempt", "1")),
        replay=headers.get("claimbus-replay"),
        deprecation=headers.get("deprecation"),
        sunset=headers.get("sunset"),
        request=Request({name: value for name, value in headers.items() if _KEPT.fullmatch(name)}, body),
    )


def request_of(event: Received) -> Request:
    """Return the request that brought an event or, when a stream did, one in binary mode, unsigned."""
    if event.request is not None:
        return event.request
    attributes = dict(event.attributes)
    headers = {
        "content-type": attributes.pop("datacontenttype", "application/json"),
        "webhook-id": event.message_id,
        "claimbus-attempt": str(event.attempt),
    }
    headers |= {f"ce-{name}": quote(value, safe=_PLAIN) for name, value in attributes.items()}
    optional = {
        "ce-dataref": event.dataref,
        "claimbus-replay": event.replay,
        "deprecation": event.deprecation,
        "sunset": event.sunset,
    }
    headers |= {name: value for name, value in optional.items() if value is not None}
    return Request(headers, event.body or b"")


def _binary(headers: Mapping[str, str]) -> dict[str, str]:
    try:
        return {
            name.removeprefix("ce-"): unquote(_unquoted(value), errors="strict")
            for name, value in headers.items()
            if name.startswith("ce-")
        }
    except UnicodeDecodeError as wrong:
        raise MalformedEventError("attributes", "one is not UTF-8") from wrong


def _unquoted(value: str) -> str:
    """Resolve a quoted string (RFC 9110, section 5.6.4)."""
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _structured(body: bytes) -> dict[str, str]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise MalformedEventError("body", "is not JSON in UTF-8") from wrong
    if not isinstance(found, dict):
        raise MalformedEventError("body", "is no JSON object")
    if "data" in found or "data_base64" in found:
        raise MalformedEventError("data", "in structured mode is not of this bus")
    for name, value in found.items():
        if not isinstance(value, str):
            raise MalformedEventError(name if name.isalnum() else "attributes", "is no string")
    return found


def _attempt(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise MalformedEventError("claimbus-attempt", "is no whole number")
    return int(text)
