"""What is valid: the bytes that fuzzing begins with."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import msgpack
import orjson

from claimbus.events import catalogue, stream
from claimbus.events.event import Event
from claimbus.events.sealing import Keys
from claimbus.events.ticket import Ticket
from claimbus.portal import ingest_events
from claimstore import record
from claimstore.encryption import encrypting

NOW: Final = datetime(2026, 1, 15, 18, tzinfo=UTC)
CLAIM: Final = "dGhpcyBpcyBhIGNsYWltIElE"
KEYS: Final = Keys.parse("k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
TYPE: Final = "oms.resource-outage.status-changed"
EVENT: Final = Event(
    type=TYPE,
    source="//iso.example/production/oms",
    id="0f8fad5b-d9cb-469f-a165-70867728950e",
    time=NOW,
    body=orjson.dumps(catalogue.EVENT_TYPES[TYPE].example),
    audience=frozenset({"PGAE", "SCE1"}),
    datacontenttype="application/json",
    sequence=7,
)


def headers(lines: Mapping[str, str], body: bytes = b"") -> bytes:
    """Return headers a line each, an empty line, and a body."""
    return "\n".join(f"{name}: {value}" for name, value in lines.items()).encode("latin-1") + b"\n\n" + body


def _ticket() -> bytes:
    ticket = Ticket(
        claim_id=CLAIM,
        message_id=EVENT.identity,
        type=TYPE,
        timestamp=1_768_500_000,
        expires=1_769_000_000,
        partitionkey="15120034",
        sequence=7,
        traceparent="00-" + 32 * "a" + "-" + 16 * "b" + "-01",
        endpoint="ep_" + 20 * "a",
        attempt=2,
        released=1_768_500_000,
    )
    told = {"message_id": ticket.message_id, "type": ticket.type, "timestamp": ticket.timestamp}
    packed: bytes = msgpack.packb(told | {"headers": ticket.headers(), "body": ticket.body()})
    return packed


def _letter() -> bytes:
    death = [{"queue": "endpoint.ep_1.1", "reason": "delivery_limit", "count": 3}]
    packed: bytes = msgpack.packb({"headers": {"x-death": death, "attempts": 3}, "body": b"no ticket"})
    return packed


def _head() -> bytes:
    """The head of a record that has its body as it is."""
    short = replace(EVENT, body=b"{}")
    _, head, _, _ = msgpack.unpackb(record.inline_record(CLAIM, short))
    return bytes(head)


def _deliveries() -> tuple[bytes, ...]:
    inline = stream.Delivery(
        delivery=1, attempt=1, message_id=EVENT.identity, event=EVENT.attributes(), body=EVENT.body
    )
    by_claim = stream.Delivery(
        delivery=2,
        attempt=1,
        message_id=EVENT.identity,
        event=EVENT.attributes(),
        dataref=f"/v1/claims/{CLAIM}",
        replay="rp_1",
    )
    return inline.encode(), by_claim.encode()


def _document() -> bytes:
    body = json.loads(EVENT.body)
    return orjson.dumps(EVENT.attributes() | {"specversion": "1.0", "audience": ["PGAE"], "data": body})


_COLUMNS: Final = (
    "OUTAGE MRID,RESOURCE NAME,RESOURCE ID,OUTAGE TYPE,NATURE OF WORK,CURTAILMENT START DATE TIME,"
    "CURTAILMENT END DATE TIME,CURTAILMENT MW,RESOURCE PMAX MW,NET QUALIFYING CAPACITY MW"
)
_ROWS: Final = (
    "15120034,SUNSET 2,SUNSET_2_UNIT1,FORCED,TROUBLE,2024-01-10 02:30:00,2024-01-12 00:00:00,12.5,100,90",
    '15120035,"HARBOR, 1",HARBOR_7_UNITS,PLANNED,X,2024-01-10 01:00:00,2024-01-11 03:00:00,0,10.25,10',
)
_ATTRIBUTES: Final = {
    f"ce-{name}": value for name, value in EVENT.attributes().items() if name != "datacontenttype"
}
_POSTED: Final = {"ce-specversion": "1.0"} | _ATTRIBUTES | {"content-type": "application/json"}
_HOOKED: Final = _POSTED | {"webhook-id": EVENT.identity, "claimbus-attempt": "2"}

SEEDS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "ticket": (_ticket(),),
    "letter": (_letter(), _ticket(), b""),
    "announcement": (b'{"endpoint": "ep_1", "what": "changed"}', b"{}"),
    "record": (record.inline_record(CLAIM, EVENT),),
    "encrypted record": (record.inline_record(CLAIM, EVENT, encrypting(KEYS, CLAIM)),),
    "head": (_head(),),
    "body": (EVENT.body,),
    "outage": (EVENT.body,),
    "feed": ("\n".join((_COLUMNS, *_ROWS, "")).encode(),),
    "posted, binary": (headers(_POSTED | {ingest_events.AUDIENCE: "PGAE,SCE1"}),),
    "posted, structured": (_document(),),
    "webhook": (headers(_HOOKED, EVENT.body),),
    "delivery": _deliveries(),
    "answer": (stream.Ack(1).encode(), stream.Nack(1, "a reason").encode()),
    "range": (b"range: bytes=0-99\n", b'range: bytes=-5\nif-range: "e"\n'),
    "client certificate": (b":Zm9v:\n:YmFy:, :YmF6:", b":Zm9v:"),
}
"""By the name of the target that takes them."""
