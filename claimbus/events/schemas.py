"""The JSON Schemas of the bodies, an example of each, and the way from a newer body to an older one.

All bodies are flat JSON objects with snake_case names. Times are RFC 3339 with an offset, power is in MW,
dates are local to the market. A schema never changes once published: another field is another version.
"""

from collections.abc import Iterable
from typing import Final, Literal, get_args

from claimbus.events.bodies import Body
from claimbus.events.event import parse_time

TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 256}
LONG_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 16384}
NAME: Final = {"type": "string", "minLength": 1, "maxLength": 64}
KEY: Final = {"type": "string", "pattern": r"^[!-~]{1,64}$"}
MEGAWATTS: Final = {"type": "number", "minimum": 0}
TIME: Final = {"type": "string", "format": "date-time"}
DATE: Final = {"type": "string", "format": "date"}
COUNT: Final = {"type": "integer", "minimum": 1}
STATUS: Final = {"type": ["string", "null"], "minLength": 1, "maxLength": 64}


def record(properties: Body, optional: Iterable[str] = ()) -> Body:
    """Return the schema of an object with just these properties, all required but the optional ones."""
    spared = frozenset(optional)
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in spared],
        "additionalProperties": False,
    }


_OUTAGE: Final = {"mrid": KEY, "outage_type": NAME, "nature_of_work": NAME, "status": STATUS}
_RESOURCE: Final = {
    **_OUTAGE,
    "resource_id": NAME,
    "resource_name": TEXT,
    "pmax_mw": MEGAWATTS,
    "net_qualifying_capacity_mw": MEGAWATTS,
}
_WINDOW: Final = {"start": TIME, "end": TIME}
_CURTAILMENTS: Final = {
    "curtailments": {"type": "array", "minItems": 1, "items": record({**_WINDOW, "mw": MEGAWATTS})}
}
_EQUIPMENT: Final = {**_OUTAGE, "equipment_id": NAME, "equipment_name": TEXT, **_WINDOW}


def resource_outage(change: str) -> Body:
    """Version 2: the curtailment over time, and what changed."""
    return _outage({**_RESOURCE, **_CURTAILMENTS}, change)


def resource_outage_v1() -> Body:
    """Version 1: one curtailment an outage, and not a word on what changed."""
    return record({**_RESOURCE, **_WINDOW, "curtailment_mw": MEGAWATTS})


def transmission_outage(change: str) -> Body:
    """Version 1 of an outage of a line, a transformer or a bus."""
    return _outage(_EQUIPMENT, change)


def _outage(properties: Body, change: str) -> Body:
    fields = {"type": "array", "items": {"enum": [*properties]}, "uniqueItems": True}
    match change:
        case "changed":
            return record({**properties, "changed_fields": fields, "returned": {"const": True}}, ["returned"])
        case "status-changed":
            return record({**properties, "changed_fields": fields, "previous_status": STATUS})
        case _:
            return record(properties)


def resource_outage_v2_to_v1(body: Body) -> Body:
    """Flatten the curtailment over time to its envelope: first start, last end, most MW."""
    rows = body["curtailments"]
    older = {name: body[name] for name in _RESOURCE}
    older["start"] = min((row["start"] for row in rows), key=parse_time)
    older["end"] = max((row["end"] for row in rows), key=parse_time)
    older["curtailment_mw"] = max(row["mw"] for row in rows)
    return older


def market(name: str, hour: str) -> Body:
    """Version 1 of a market event; ``hour`` is ``required``, ``optional`` or ``absent``.

    An hour counts through the local trade date from 1, to 23 or 25 on the days when the clock changes;
    ``starts`` and ``ends`` are the same hour without that ambiguity.
    """
    properties: Body = {"market": {"const": name}, "trade_date": DATE}
    of_hour = {"hour": {"type": "integer", "minimum": 1, "maximum": 25}, "starts": TIME, "ends": TIME}
    extras = {"due": TIME, "reason": LONG_TEXT}
    if hour == "absent":
        return record({**properties, "occurrence": COUNT, **extras}, extras)
    schema = record({**properties, **of_hour, "occurrence": COUNT, **extras}, extras)
    if hour == "optional":
        schema["required"] = [field for field in schema["required"] if field not in of_hour]
        schema["dependentRequired"] = {field: sorted(of_hour.keys() - {field}) for field in of_hour}
    return schema


NoticeKind = Literal["protocol-disabled", "application-retired", "certificate", "maintenance", "general"]

NOTICE: Final = record(
    {
        "notice_id": KEY,
        "kind": {"enum": [*get_args(NoticeKind)]},
        "title": TEXT,
        "text": LONG_TEXT,
        "effective": TIME,
        "ends": TIME,
        "url": {"type": "string", "format": "uri"},
    },
    ["ends", "url"],
)


def endpoint(event: str) -> Body:
    """Version 1 of what a participant is told about one of its own endpoints."""
    optional = ["since"] if event in ("held", "disabled") else ["since", "reason"]
    return record({"endpoint": KEY, "reason": LONG_TEXT, "since": TIME}, optional)


def resource_outage_example(change: str) -> Body:
    """Return a valid body of version 2."""
    body: Body = {
        "mrid": "15120034",
        "resource_id": "SUNRIV_2_UNIT 1",
        "resource_name": "SUN RIVER UNIT 1",
        "outage_type": "FORCED",
        "nature_of_work": "PLANT_TROUBLE",
        "status": "OUT",
        "pmax_mw": 150.0,
        "net_qualifying_capacity_mw": 120.5,
        "curtailments": [
            {"start": "2026-01-15T08:00:00Z", "end": "2026-01-15T20:00:00Z", "mw": 150.0},
            {"start": "2026-01-15T20:00:00Z", "end": "2026-01-16T07:59:00Z", "mw": 40.0},
        ],
    }
    return _with_change(body, change, "curtailments")


def transmission_outage_example(change: str) -> Body:
    """Return a valid body of version 1."""
    body: Body = {
        "mrid": "9900417",
        "equipment_id": "SUNRIV-MESA_230_1",
        "equipment_name": "SUN RIVER - MESA 230 KV LINE 1",
        "outage_type": "PLANNED",
        "nature_of_work": "LINE_MAINTENANCE",
        "status": "OUT",
        "start": "2026-01-15T14:00:00Z",
        "end": "2026-01-15T23:00:00Z",
    }
    return _with_change(body, change, "end")


def _with_change(body: Body, change: str, field: str) -> Body:
    match change:
        case "changed":
            return {**body, "changed_fields": [field]}
        case "status-changed":
            return {**body, "changed_fields": ["status"], "previous_status": "APPROVED"}
        case _:
            return body


def market_example(name: str, *, hourly: bool) -> Body:
    """Return a valid body of version 1."""
    hour = {"hour": 18, "starts": "2026-01-16T01:00:00Z", "ends": "2026-01-16T02:00:00Z"}
    return {"market": name, "trade_date": "2026-01-15", **(hour if hourly else {}), "occurrence": 1}


NOTICE_EXAMPLE: Final[Body] = {
    "notice_id": "tls-1-1-off",
    "kind": "protocol-disabled",
    "title": "TLS 1.1 is switched off",
    "text": "Connections below TLS 1.2 are refused from the effective date.",
    "effective": "2026-03-01T16:00:00Z",
}


def endpoint_example(event: str) -> Body:
    """Return a valid body of version 1."""
    body: Body = {"endpoint": "ep_7Qm2", "since": "2026-01-15T08:00:00Z"}
    if event in ("held", "disabled"):
        body["reason"] = "5 failures in a row, the last: connection refused"
    return body
