"""``/asyncapi.json``: what participants receive, as AsyncAPI 3 tells it; made from the catalogue.

A channel a type, a message a version of its body. What the bus sends it sends the same way over webhooks and
over streams.
"""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from claimbus.database import type_dates
from claimbus.events.bodies import Body, decoded, encoded
from claimbus.events.catalogue import EventType, SchemaVersion
from claimbus.events.stream import SUBPROTOCOL
from claimbus.portal.desk import memory
from claimbus.portal.desk.memory import Fresh
from claimbus.portal.services import Provided, Services

KEPT: Final = 30.0
"""Seconds for which a look at the types' dates counts: anybody may ask, any number of times."""

router = APIRouter(tags=["event types"])

_JSON_SCHEMA: Final = "application/schema+json;version=draft-07"

_TEXT: Final = {"type": "string"}
_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ce-specversion": {"type": "string", "const": "1.0"},
    "ce-id": _TEXT,
    "ce-source": {"type": "string", "format": "uri-reference"},
    "ce-time": {"type": "string", "format": "date-time"},
    "ce-subject": _TEXT,
    "ce-partitionkey": {
        **_TEXT,
        "description": "What it is about: an outage, say. Its events come in order.",
    },
    "ce-sequence": {**_TEXT, "description": "Its place among the events of one partitionkey; it only grows."},
    "ce-traceparent": _TEXT,
    "webhook-id": {**_TEXT, "description": "The event's identity: dedupe by it."},
    "webhook-timestamp": {**_TEXT, "description": "Seconds since the epoch, when it was signed."},
    "webhook-signature": {**_TEXT, "description": "Standard Webhooks; several while a secret is rotated."},
    "claimbus-attempt": {**_TEXT, "description": "Which attempt this is, from 1."},
    "claimbus-replay": {**_TEXT, "description": "The replay or recovery by which it comes again."},
    "deprecation": {**_TEXT, "description": "From when the type or its version is deprecated (RFC 9745)."},
    "sunset": {**_TEXT, "description": "When it ends (RFC 8594)."},
}
_ALWAYS: Final = ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "webhook-id"]


class _Dates(Fresh[Mapping[str, EventType]]):
    """The catalogue with the dates in force."""

    def __init__(self) -> None:
        super().__init__(KEPT, stale=KEPT)


@router.get("/asyncapi.json", response_class=JSONResponse, responses={503: {"description": "Try again"}})
async def asyncapi(
    request: Request, services: Provided, host: Annotated[str, Header(include_in_schema=False)] = ""
) -> Response:
    """Describe the events that participants receive, as AsyncAPI 3. Open to everybody."""
    types = await _in_force(services)
    secured = request.url.scheme == "https"
    return JSONResponse(document(types, host=host or request.url.netloc, secured=secured))


async def _in_force(services: Services) -> Mapping[str, EventType]:
    kept = memory.of(services)
    return await kept.the(_Dates).get(kept, lambda: services.database.read(type_dates.types_in_force))


def document(types: Mapping[str, EventType], *, host: str, secured: bool = True) -> dict[str, Any]:
    """Return the document; ``host`` is where the portal is."""
    kinds = [types[name] for name in sorted(types)]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "claimbus",
            "version": version("claimbus"),
            "description": "Events of an electricity ISO for its market participants: CloudEvents 1.0.",
        },
        "defaultContentType": "application/json",
        "servers": _servers(host, secured=secured),
        "channels": {kind.name: _channel(kind) for kind in kinds},
        "operations": {f"send.{kind.name}": _operation(kind) for kind in kinds},
        "components": {"messages": dict(message for kind in kinds for message in _messages(kind))},
    }


def _servers(host: str, *, secured: bool) -> dict[str, Any]:
    return {
        "webhook": {
            "host": "{receiver}",
            "protocol": "https",
            "description": "What the participant hosts: it gets each event as a POST (CloudEvents, binary).",
            "variables": {"receiver": {"description": "Host and path of the endpoint's URL."}},
        },
        "stream": {
            "host": host,
            "pathname": "/v1/endpoints/{endpoint_id}/stream",
            "protocol": "wss" if secured else "ws",
            "description": f"Connected to by the participant; frames of {SUBPROTOCOL}, which hold the same.",
            "variables": {"endpoint_id": {"description": "The endpoint's ID."}},
        },
    }


def _channel(kind: EventType) -> dict[str, Any]:
    return {
        "address": kind.name,
        "title": kind.name,
        "description": kind.description,
        "servers": [{"$ref": "#/servers/webhook"}, {"$ref": "#/servers/stream"}],
        "messages": {
            f"v{one.version}": {"$ref": f"#/components/messages/{_message_id(kind, one)}"}
            for one in kind.versions
        },
        **_retirement(kind),
    }


def _operation(kind: EventType) -> dict[str, Any]:
    channel = f"#/channels/{kind.name}"
    return {
        "action": "send",
        "channel": {"$ref": channel},
        "summary": kind.description,
        "messages": [{"$ref": f"{channel}/messages/v{one.version}"} for one in kind.versions],
    }


def _messages(kind: EventType) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the messages of a type, the newest version first, each with its ID."""
    example: Body = kind.example
    for one in reversed(kind.versions):
        if one is not kind.newest and one.downgrade is not None:
            example = one.downgrade(example)
        yield _message_id(kind, one), _message(kind, one, example)


def _message(kind: EventType, one: SchemaVersion, example: Body) -> dict[str, Any]:
    own = {
        "ce-type": {"type": "string", "const": kind.name},
        "ce-dataschema": {"type": "string", "const": one.uri},
    }
    return {
        "name": kind.name,
        "title": f"{kind.name}, version {one.version}",
        "summary": kind.description,
        "contentType": "application/json",
        "headers": {"type": "object", "properties": {**own, **_HEADERS}, "required": _ALWAYS},
        "payload": {"schemaFormat": _JSON_SCHEMA, "schema": _schema(one)},
        "examples": [{"name": "example", "payload": decoded(encoded(example))}],
        **_retirement(one),
    }


def _schema(one: SchemaVersion) -> dict[str, Any]:
    """Return the schema of a body: what it says is the same in draft 7, which AsyncAPI's tools know."""
    return {name: value for name, value in one.schema.document.items() if name not in ("$schema", "$id")}


def _retirement(one: EventType | SchemaVersion) -> dict[str, Any]:
    days = {"x-deprecated": one.deprecated, "x-sunset": one.sunset}
    return {name: day.isoformat() for name, day in days.items() if day is not None}


def _message_id(kind: EventType, one: SchemaVersion) -> str:
    return f"{kind.name}.v{one.version}"
