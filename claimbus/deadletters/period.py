"""A period of the journal, some entries at a time, by the seconds in which the tickets were published."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from claimbus.broker import journal
from claimbus.broker.connection import Connection
from claimbus.broker.journal import JournalEntry
from claimbus.events.errors import InvalidInputError
from claimbus.events.ticket import Ticket

SLACK: Final = timedelta(minutes=5)
"""What the clocks of producers and RabbitMQ may differ by, a publish that is tried again included."""

OnProgress = Callable[[int, int], None]
"""Called with how many entries have been read, and how many there are."""


@dataclass(frozen=True, slots=True)
class Period:
    """From ``since`` on and before ``until``, aware moments; without ``until`` up to the present.

    Raises InvalidInputError with the name of the moment at fault.
    """

    since: datetime
    until: datetime | None = None

    def __post_init__(self) -> None:
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None and moment.tzinfo is None:
                raise InvalidInputError(name, f"{moment.isoformat()} is naive; give it a time zone")
        if self.until is not None and self.until <= self.since:
            raise InvalidInputError("until", "is not later than since")

    def has(self, ticket: Ticket) -> bool:
        """Tell whether this ticket, read by `stretches`, was published in the period.

        Tickets tell whole seconds; one of which a part is in the period counts. So does a ticket whose second
        cannot be true: RabbitMQ gave it as one of the period.
        """
        begins = int(self.since.timestamp())
        return begins <= ticket.timestamp < _end(self.until) or not self.believes(ticket)

    def believes(self, ticket: Ticket) -> bool:
        """Tell whether the second in which this ticket, read by `stretches`, was published can be true."""
        slack = SLACK.total_seconds()
        return self.since.timestamp() - 2 * slack <= ticket.timestamp <= time.time() + slack

    def is_over(self, entries: Sequence[JournalEntry]) -> bool:
        """Tell whether many entries in a row, and so all that follow, were published too late for it."""
        too_late = _end(self.until) + SLACK.total_seconds()
        return all(entry.ticket is not None and entry.ticket.timestamp > too_late for entry in entries)


async def stretches(
    connection: Connection, period: Period, size: int, on_progress: OnProgress, *, begin: int | None = None
) -> AsyncGenerator[list[JournalEntry], None]:
    """Yield the entries of a period in their order, ``size`` or fewer at a time, and few that are none of it.

    ``begin`` is the offset to go on from, after an earlier reading of the period. Raises what
    `claimbus.broker.journal.read` raises.
    """
    last = await journal.last_offset(connection)
    if last is None:
        return
    since = period.since - SLACK if begin is None else begin
    entries: list[JournalEntry] = []
    async with aclosing(journal.read(connection, since=since, last=last)) as found:
        async for entry in found:
            begin = entry.offset if begin is None else begin
            entries.append(entry)
            if len(entries) < size and entry.offset < last:
                continue
            yield entries
            on_progress(entry.offset - begin + 1, last - begin + 1)
            if period.is_over(entries):
                return
            entries = []


def _end(until: datetime | None) -> float:
    return float("inf") if until is None else until.timestamp()
