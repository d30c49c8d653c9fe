"""Every delivery that should have been, until something is recorded of it."""

import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from claimbus.database import attempts, letters
from claimbus.database.engine import Database
from claimbus.deadletters.expected import Expectations
from claimbus.events.event import Audience
from claimbus.events.ticket import Ticket

if TYPE_CHECKING:
    import sqlalchemy


class OpenDelivery(NamedTuple):
    """A delivery of which neither a delivery nor a superseding nor a dead letter is recorded."""

    endpoint_id: str
    message_id: str
    type: str
    published_at: datetime


Deliveries = defaultdict[str, dict[str, OpenDelivery]]
"""Open deliveries by endpoint and message; no endpoint is without any."""


class Account:
    """Deliveries are entered event by event, and settled once it is recorded how they ended.

    ``counts`` has the settled ones, as ``delivered``, ``superseded`` and ``dead``; ``open`` are the others.
    Deliveries that may not have been meant to be are ``doubtful`` while open, and in no count. ``unknown`` is
    how many events could not be entered, or not with all their deliveries.
    """

    def __init__(self, database: Database) -> None:
        self.counts: Counter[str] = Counter()
        self.open: Deliveries = defaultdict(dict)
        self.doubtful: Deliveries = defaultdict(dict)
        self.unknown = 0
        self._database = database

    async def enter(self, events: Iterable[tuple[Ticket, Audience]], expectations: Expectations) -> None:
        """Enter the deliveries of these events; most are settled already."""
        certain: Deliveries = defaultdict(dict)
        doubtful: Deliveries = defaultdict(dict)
        for ticket, audience in events:
            type_, at = sys.intern(ticket.type), datetime.fromtimestamp(ticket.timestamp, UTC)
            for endpoint_id, is_certain in expectations.of(type_, audience, ticket.timestamp):
                one = OpenDelivery(endpoint_id, ticket.message_id, type_, at)
                (certain if is_certain else doubtful)[endpoint_id][ticket.message_id] = one
        self.counts += await self._settle(certain)
        await self._settle(doubtful)
        for kept, new in ((self.open, certain), (self.doubtful, doubtful)):
            for endpoint_id, deliveries in new.items():
                kept[endpoint_id].update(deliveries)

    async def settle(self) -> None:
        """Settle what has been recorded meanwhile."""
        self.counts += await self._settle(self.open)
        await self._settle(self.doubtful)

    async def _settle(self, deliveries: Deliveries) -> Counter[str]:
        """Remove those that have ended; return how many ended how."""
        ended = await self._database.read(
            lambda sql: {endpoint_id: _ended(sql, endpoint_id, of) for endpoint_id, of in deliveries.items()}
        )
        counts: Counter[str] = Counter()
        for endpoint_id, outcomes in ended.items():
            left = deliveries[endpoint_id]
            for outcome, message_ids in outcomes.items():
                counts[outcome] += len(message_ids)
                for message_id in message_ids:
                    del left[message_id]
            if not left:
                del deliveries[endpoint_id]
        return counts


def _ended(
    sql: "sqlalchemy.Connection", endpoint_id: str, message_ids: Collection[str]
) -> dict[str, frozenset[str]]:
    """Return which of these messages ended at the endpoint, by how."""
    left, ended = set(message_ids), {}
    for verdict in ("delivered", "superseded"):
        ended[verdict] = attempts.delivered(sql, endpoint_id, left, verdicts=(verdict,))
        left -= ended[verdict]
    return ended | {"dead": letters.dead_message_ids(sql, endpoint_id, left)}
