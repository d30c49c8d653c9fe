"""Events in HTTP, as ISO systems send them: the CloudEvents 1.0 HTTP binding and JSON format.

The audience is no attribute of an event, since it never leaves the ISO. It stands beside them: in the header
``claimbus-audience``, or in JSON as the member ``audience``.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote

from starlette.datastructures import Headers

from claimbus.events.bodies import encoded, is_json
from claimbus.events.errors import InvalidEventError
from claimbus.events.event import ALL, Audience, Event, audience_of, format_time

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"

AUDIENCE: Final = "claimbus-audience"
IDEMPOTENCY_KEY: Final = "idempotency-key"

_ATTRIBUTES: Final = frozenset(
    {
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "subject",
        "datacontenttype",
        "dataschema",
        "partitionkey",
        "sequence",
        "traceparent",
    }
)
_NAME: Final = re.compile(r"[a-z0-9_-]{1,64}")
"""What a problem may name as its field: CloudEvents' own names, and what people take for them."""
_DROPPED: Final = frozenset({"tracestate"})
"""What libraries for tracing send along, and nobody needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What an event has whose sender does not say.

    ``id``, the ``Idempotency-Key``, must be the event's own if it has one.
    """

    source: str
    at: datetime
    id: str | None = None


def binary(headers: Headers, defaults: Defaults) -> Event:
    """Read an event from the headers of a request whose body is the event's, which is left empty.

    Raises InvalidEventError naming the attribute at fault.
    """
    attributes: dict[str, str] = {}
    for header, value in headers.items():
        if not header.startswith("ce-"):
            continue
        name = header.removeprefix("ce-")
        _check_known(name)
        if name in attributes:
            raise InvalidEventError(name, "is given twice")
        attributes[name] = _decoded(name, value)
    if "datacontenttype" in attributes:
        raise InvalidEventError("datacontenttype", "goes into the header Content-Type")
    attributes["datacontenttype"] = headers.get("content-type", "")
    return _event(attributes, b"", ",".join(headers.getlist(AUDIENCE)), defaults)


def structured(document: object, defaults: Defaults) -> Event:
    """Read an event from its JSON form. Raises InvalidEventError naming the member at fault."""
    if not isinstance(document, dict):
        raise InvalidEventError("body", "is no JSON object")
    members = {name: value for name, value in document.items() if value is not None}
    audience = members.pop("audience", None)
    data = {name: members.pop(name) for name in ("data", "data_base64") if name in members}
    for name in members:
        _check_known(name)
    attributes = {name: _text(name, value) for name, value in members.items()}
    content_type = attributes.setdefault("datacontenttype", "application/json")
    return _event(attributes, _body(data, content_type), audience, defaults)


def idempotency_key(headers: Headers) -> str | None:
    """Return the key, which may be in quotes, as a string of RFC 8941 is."""
    given = headers.get(IDEMPOTENCY_KEY)
    return given[1:-1] if given and re.fullmatch(r'"[^"\\]*"', given) else given


def _event(attributes: Mapping[str, str], body: bytes, audience: object, defaults: Defaults) -> Event:
    if attributes.get("specversion") != "1.0":
        raise InvalidEventError("specversion", "must be 1.0")
    found = {"source": defaults.source, "time": format_time(defaults.at), **attributes}
    if defaults.id is not None and found.setdefault("id", defaults.id) != defaults.id:
        raise InvalidEventError(IDEMPOTENCY_KEY, "is not the event's id")
    return Event.from_attributes(found, body, _audience(audience))


def _check_known(name: str) -> None:
    if name not in _ATTRIBUTES | _DROPPED:
        field = name if _NAME.fullmatch(name) else "attributes"
        raise InvalidEventError(field, f"{name!r:.100} is no attribute that this bus carries")


def _audience(given: object) -> Audience:
    names = list(filter(None, given.split(","))) if isinstance(given, str) else given
    if not names or not isinstance(names, list):
        raise InvalidEventError("audience", "is required: all, or participants, such as PGAE,SCE1")
    found = [_text("audience", name).strip() for name in names]
    return ALL if found == [ALL] else audience_of(found)


def _body(data: Mapping[str, Any], content_type: str) -> bytes:
    match data:
        case {"data": _, "data_base64": _}:
            raise InvalidEventError("data_base64", "stands beside data; give one of them")
        case {"data_base64": str(text)}:
            try:
                return base64.b64decode(text, validate=True)
            except ValueError as wrong:
                raise InvalidEventError("data_base64", "is no Base64") from wrong
        case {"data_base64": _}:
            raise InvalidEventError("data_base64", "is no string")
        case {"data": value} if is_json(content_type):
            return encoded(value)
        case {"data": str(text)}:
            return text.encode()
        case {"data": _}:
            raise InvalidEventError("data", f"is no string, but not JSON by its type {content_type!r:.100}")
        case _:
            return b""


def _text(name: str, value: object) -> str:
    """Return an attribute's string form (CloudEvents 1.0, section 3.1)."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InvalidEventError(name, "is neither a string nor a whole number")


def _decoded(name: str, value: str) -> str:
    """Decode a header's value (CloudEvents HTTP binding 1.0.2, section 3.1.3.2)."""
    if not value.isascii():
        raise InvalidEventError(name, "must be percent-encoded: it is not ASCII")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as wrong:
        raise InvalidEventError(name, "is not UTF-8") from wrong
