"""What was published, as the journal has it: for operators who look for an event."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from claimbus.broker import journal
from claimbus.broker.journal import JournalEntry
from claimbus.database.access import Principal, Role
from claimbus.events.errors import InvalidInputError
from claimbus.events.routing import check_pattern, matches
from claimbus.events.ticket import Ticket
from claimbus.portal.desk import patience, scope
from claimbus.portal.services import Services

MOST: Final = 200
"""Entries of an answer."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""RabbitMQ knows no moment before it."""

WITHIN: Final = 20.0
"""Seconds that a search reads; what it found by then is the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries, from ``since`` on: those that pass every filter given; ``type`` is a pattern."""

    since: datetime
    until: datetime | None = None
    type: str | None = None
    message_id: str | None = None
    partitionkey: str | None = None

    def has(self, ticket: Ticket) -> bool:
        """Tell whether a ticket passes."""
        return (
            ticket.timestamp >= int(self.since.timestamp())
            and (self.until is None or ticket.timestamp < self.until.timestamp())
            and (self.type is None or matches(self.type, ticket.type))
            and (self.message_id is None or ticket.message_id == self.message_id)
            and (self.partitionkey is None or ticket.partitionkey == self.partitionkey)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found, in the order of publishing. ``whole`` is False when there may be more behind."""

    entries: tuple[JournalEntry, ...]
    read: int
    whole: bool


async def search(services: Services, who: Principal, wanted: Wanted, *, limit: int = MOST) -> Found:
    """Read the journal for what is wanted, `WITHIN` seconds at most. Raises InvalidInputError."""
    scope.must_be(who, Role.OPERATOR)
    if wanted.type is not None:
        check_pattern(wanted.type)
    for name, moment in (("since", wanted.since), ("until", wanted.until)):
        if moment is not None and moment.tzinfo is None:
            raise InvalidInputError(name, "is naive; give it a time zone")
    if wanted.until is not None and wanted.until <= wanted.since:
        raise InvalidInputError("until", "is not later than since")
    patience.must_be_connected(services)
    found: list[JournalEntry] = []
    read, whole = 0, True
    try:
        async with (
            asyncio.timeout(WITHIN),
            aclosing(journal.read(services.consuming, since=max(wanted.since, EPOCH))) as entries,
        ):
            async for entry in entries:
                read += 1
                if entry.ticket is not None and wanted.has(entry.ticket):
                    found.append(entry)
                if len(found) >= min(limit, MOST):
                    whole = False
                    break
    except TimeoutError:
        whole = False
    return Found(entries=tuple(found), read=read, whole=whole)
