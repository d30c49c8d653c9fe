"""Reconcile: tell whether every delivery that should have been is recorded, or still under way.

The journal tells what was published, the claims for whom, the dated bindings which endpoints should have had
it, attempts and letters what became of that. What is left is *open*, and must lie in a queue, or it is lost.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from claimbus.broker.connection import Connection
from claimbus.broker.journal import JournalEntry
from claimbus.broker.topology import DEADLETTERS, Rung, endpoint_of, endpoint_queue, message_counts
from claimbus.database import bindings, endpoints, kept
from claimbus.database.engine import Database
from claimbus.deadletters.account import Account, OpenDelivery
from claimbus.deadletters.expected import Expectations
from claimbus.deadletters.period import SLACK, OnProgress, Period, stretches
from claimbus.events.event import ALL, Audience, format_time
from claimbus.events.ticket import Ticket
from claimstore.store import ClaimStore

BATCH: Final = 500
"""Journal entries judged at a time."""

WITHIN: Final = 30.0
"""Seconds for which it is looked again while the numbers do not agree."""

PAUSE: Final = 0.5
"""Seconds between two looks, besides what finding the journal's end takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What became of the ``expected`` deliveries of a period.

    ``delivered``, ``superseded`` and ``dead`` are recorded; the ``open`` ones, oldest first, are not.
    ``waiting`` are the messages in the queues that have any; what workers hold unacked is in none of them.
    ``doubtful`` is how many more are open, or never were meant to be: their endpoint was bound or unbound
    just then. Of ``unknown`` events it cannot be told for whom they were, because the claim is gone, or when.

    ``complete``: nothing is lost, for as many are open as wait, endpoint by endpoint. Of a chosen period it
    is said when nothing is open, for queues do not tell of when their messages are. ``settled``: nothing is
    lost, open or waiting.
    """

    open: tuple[OpenDelivery, ...]
    expected: int
    delivered: int
    superseded: int
    dead: int
    waiting: Mapping[str, int]
    doubtful: int
    unknown: int
    complete: bool
    settled: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON can hold."""
        told: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        told["open"] = [
            delivery._asdict() | {"published_at": format_time(delivery.published_at)}
            for delivery in self.open
        ]
        return told


class Reconciliation:
    """Goes through the journal and tells what became of it all. It changes nothing."""

    def __init__(
        self,
        database: Database,
        store: ClaimStore,
        connection: Connection,
        ladder: Sequence[Rung],
        claim_life: timedelta,
    ) -> None:
        self._database = database
        self._store = store
        self._connection = connection
        self._rungs = [rung.queue for rung in ladder]
        self._claim_life = claim_life

    async def run(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        within: float = WITHIN,
        on_progress: OnProgress = lambda _read, _total: None,
    ) -> Reconciled:
        """Account for all that was published and has not expired, or for a period of it.

        What is just being delivered is in no queue, and not recorded: so it is looked again until the account
        is settled, or complete twice alike, or ``within`` seconds have passed since the first look.
        Test events, replays and recoveries are not in the journal: as long as they wait nothing is settled.

        Raises InvalidInputError naming the moment at fault, and UnavailableError.
        """
        period = Period(since or datetime.now(UTC) - self._claim_life, until)
        is_whole = since is None and until is None
        account = Account(self._database)
        begin = await self._read(account, period, None, on_progress)
        loop = asyncio.get_running_loop()
        deadline, before = loop.time() + within, None
        while True:
            await account.settle()
            found = _reconciled(account, await self._waiting(), is_whole=is_whole)
            if found.settled or (found.complete and found == before) or loop.time() >= deadline:
                return found
            before = found
            await asyncio.sleep(PAUSE)
            if until is None:
                begin = await self._read(account, period, begin, lambda _read, _total: None)

    async def _read(
        self, account: Account, period: Period, begin: int | None, on_progress: OnProgress
    ) -> int | None:
        """Enter what the journal has of the period; return the offset to begin with the next time."""
        expectations = None
        async with aclosing(stretches(self._connection, period, BATCH, on_progress, begin=begin)) as found:
            async for entries in found:
                # Not before the journal's end is known: what was published up to it is bound by then.
                expectations = expectations or await self._expectations(period)
                await account.enter(await self._events(account, period, entries), expectations)
                begin = entries[-1].offset + 1
        return begin

    async def _expectations(self, period: Period) -> Expectations:
        begin, end = period.since - SLACK, datetime.now(UTC) + SLACK
        return Expectations(await self._database.read(lambda sql: bindings.during(sql, begin, end)))

    async def _events(
        self, account: Account, period: Period, entries: Sequence[JournalEntry]
    ) -> list[tuple[Ticket, Audience]]:
        """Return the period's events, each once, and for whom they are, by the claims."""
        tickets: dict[str, tuple[Ticket, str]] = {}
        for _, key, ticket in entries:
            if ticket is None or ticket.expires <= time.time() or not period.has(ticket):
                continue
            if period.believes(ticket):
                tickets[ticket.message_id] = ticket, key.rpartition(".")[2]
            else:
                account.unknown += 1
        sealed = {ticket.claim_id for ticket, to in tickets.values() if to != ALL}
        audiences = {
            claim_id: claim.audience for claim_id, claim in (await self._store.glance(sealed)).items()
        }
        if lost := sealed - audiences.keys():
            audiences |= await self._database.read(lambda sql: kept.audiences(sql, lost))
        events: list[tuple[Ticket, Audience]] = []
        for ticket, to in tickets.values():
            audience = ALL if to == ALL else audiences.get(ticket.claim_id)
            if audience is None:  # of the recipients one is known: the first
                account.unknown += 1
                audience = frozenset({to})
            events.append((ticket, audience))
        return events

    async def _waiting(self) -> dict[str, int]:
        """Return how many messages wait in which queue."""
        known = await self._database.read(lambda sql: endpoints.find(sql, removed=True))
        own = [endpoint_queue(one.id, n + 1) for one in known for n in range(one.generation)]
        counts = await message_counts(self._connection, [DEADLETTERS, *self._rungs, *own])
        return {queue: found.messages for queue, found in counts.items() if found and found.messages}


def _reconciled(account: Account, waiting: Mapping[str, int], *, is_whole: bool) -> Reconciled:
    """Hold what is open against what waits."""
    opened = sorted(
        (delivery for deliveries in account.open.values() for delivery in deliveries.values()),
        key=lambda delivery: delivery.published_at,
    )
    open_, doubtful = (
        Counter({endpoint_id: len(of) for endpoint_id, of in deliveries.items()})
        for deliveries in (account.open, account.doubtful)
    )
    agree = agrees(open_, doubtful, waiting) if is_whole else not opened
    complete = agree and not account.unknown
    return Reconciled(
        open=tuple(opened),
        expected=len(opened) + account.counts.total(),
        delivered=account.counts["delivered"],
        superseded=account.counts["superseded"],
        dead=account.counts["dead"],
        waiting=waiting,
        doubtful=doubtful.total(),
        unknown=account.unknown,
        complete=complete,
        settled=complete and not opened and not (is_whole and waiting),
    )


def agrees(open_: Counter[str], doubtful: Counter[str], waiting: Mapping[str, int]) -> bool:
    """Tell whether every open delivery waits, in its endpoint's queues or in those that all share.

    Deliveries are counted by endpoint, what waits by queue. Doubtful deliveries may wait or not; nothing else
    may.
    """
    own: Counter[str] = Counter()
    shared = 0
    for queue, count in waiting.items():
        if (endpoint_id := endpoint_of(queue)) is None:
            shared += count
        else:
            own[endpoint_id] += count
    at_most = open_ + doubtful
    return own <= at_most and (open_ - own).total() <= shared <= (at_most - own).total()
