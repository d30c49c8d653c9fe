"""Events to check in, one by one and as hypothesis draws them; and the keys that they became."""

import json
import random
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from claimbus.events.event import ALL, Event, new_id
from claimstore.connection import Connection

JSON_BODY = json.dumps(
    {"mrid": "12345", "status": "OUT", "curtailments": [{"mw": mw, "unit": "MW"} for mw in range(60)]}
).encode()


def an_event(**given: Any) -> Event:  # noqa: ANN401  # any attribute of an event
    attributes: dict[str, Any] = {
        "type": "oms.resource-outage.status-changed",
        "source": "urn:claimbus:test:oms",
        "id": new_id(),
        "time": datetime(2024, 1, 31, 12, 30, tzinfo=UTC),
        "body": JSON_BODY,
        "audience": frozenset({"PGAE", "SCE1"}),
        "subject": "12345",
        "partitionkey": "12345",
        "sequence": 3,
    }
    return Event(**(attributes | given))


async def keys(connection: Connection) -> set[bytes]:
    """All keys with the connection's prefix."""
    found: set[bytes] = set()
    for master in connection.masters:
        cursor = b""
        while cursor != b"0":
            pattern = f"{connection.prefix}*"
            cursor, page = await master.ask("SCAN", cursor or 0, "MATCH", pattern, "COUNT", 1000)
            found.update(page)
    return found


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


_texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)

bodies = st.one_of(
    st.binary(max_size=2000),
    st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=20), st.integers(1, 300)),
)

events = st.builds(
    Event,
    type=_texts,
    source=_texts,
    id=_texts,
    time=st.datetimes(timezones=st.just(UTC)),
    body=bodies,
    audience=st.one_of(st.just(ALL), st.frozensets(st.from_regex("[A-Z][A-Z0-9_]{1,31}", fullmatch=True))),
    datacontenttype=_texts,
    subject=st.none() | _texts,
    dataschema=st.none() | _texts,
    partitionkey=st.none() | _texts,
    sequence=st.none() | st.integers(0, 2**63 - 1),
    traceparent=st.none() | _texts,
)
