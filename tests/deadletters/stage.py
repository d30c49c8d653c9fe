"""Dead letters straight into the database, and runners that replay them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from prometheus_client import CollectorRegistry

from claimbus.broker.codec import Letter
from claimbus.broker.consumer import Consumer
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import endpoint_queue
from claimbus.database import attempts, endpoints, letters, outcomes, participants, replays
from claimbus.database import kept as keeping
from claimbus.database.attempts import Attempt
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.kept import KeptClaim
from claimbus.database.letters import DeadLetter
from claimbus.database.replays import Progress, Replay
from claimbus.deadletters.metrics import LettersMetrics
from claimbus.deadletters.replay import Runner
from claimbus.deadletters.row import row_of
from claimbus.events.catalogue import lookup
from claimbus.events.event import ALL, Event, audience_of, new_id
from claimbus.events.ticket import Ticket
from claimstore.holds import Holds
from claimstore.record import read_head
from claimstore.store import ClaimStore
from tests.consumers.house import House
from tests.waiting import eventually

ACT = Act("tests")
LIFE = timedelta(days=7)


def event(
    *to: str,
    type_: str = "market.dam.closed",
    body: bytes | None = None,
    datacontenttype: str = "application/json",
) -> Event:
    """An event for these participants, or for all."""
    return Event(
        type=type_,
        source="urn:tests",
        id=new_id(),
        time=datetime.now(UTC) - timedelta(days=1),
        body=json.dumps(lookup(type_).example).encode() if body is None else body,
        audience=audience_of(to) if to else ALL,
        datacontenttype=datacontenttype,
    )


@dataclass
class Cemetery:
    """A database and a claim store, and dead letters in them."""

    database: Database
    store: ClaimStore
    holds: Holds

    def participant(self, name: str, *event_types: str) -> None:
        with self.database.transaction() as sql:
            participants.add(sql, name, f"{name} Inc", ACT, event_types=event_types or ("#",))

    def endpoint(self, participant: str, name: str = "one") -> Endpoint:
        """An endpoint that nothing is ever sent to."""
        with self.database.transaction() as sql:
            return endpoints.add(
                sql,
                participant,
                ACT,
                name=name,
                url="https://receiver.test/",
                subscriptions=["#"],
                verified=True,
            )

    async def bury(
        self,
        endpoint: Endpoint,
        *events: Event,
        count: int = 1,
        kept: bool = True,
        lasting: timedelta = LIFE,
        cause: str = "rejected",
        detail: str = "answered 422",
        status: int | None = 422,
    ) -> list[DeadLetter]:
        """Make dead letters of these events, or of so many new ones for the endpoint's participant.

        They were published a day ago. Their claims are in Redis for as long as they are ``lasting``, and
        kept in the database unless told otherwise.
        """
        found = events or tuple(event(endpoint.participant_id) for _ in range(count))
        given_up = [
            Letter(
                body=ticket.body(),
                ticket=ticket,
                endpoint=endpoint.id,
                cause=cause,
                detail=detail,
                attempts=3,
                status=status,
            )
            for ticket in await self.tickets(*found, lasting=lasting)
        ]
        rows = [row_of(one, endpoint.participant_id, datetime.now(UTC)) for one in given_up]
        claims = [await self.copy(row.claim_id or "") for row, _ in rows] if kept else []
        with self.database.transaction() as sql:
            letters.record(sql, [row for row, _ in rows], [group for _, group in rows], claims)
        return [row for row, _ in rows]

    async def tickets(self, *events: Event, lasting: timedelta = LIFE) -> list[Ticket]:
        """Check events in; return their tickets."""
        places = await self.store.check_in_many(events)
        if lasting != LIFE:
            expires = int(time.time() + lasting.total_seconds())
            places = [place._replace(expires=expires) for place in places]
            await asyncio.gather(*(self.expire(place.claim_id, expires) for place in places))
        return [
            Ticket(
                claim_id=place.claim_id,
                message_id=one.identity,
                type=one.type,
                timestamp=int(one.time.timestamp()),
                expires=place.expires,
            )
            for one, place in zip(events, places, strict=True)
        ]

    async def copy(self, claim_id: str) -> KeptClaim:
        """A claim's copy for the database; its chunks are there already."""
        record, *chunks = [part async for part in self.store.stored(claim_id, expires=1 << 62)]
        with self.database.transaction() as sql:
            for number, data in enumerate(chunks):
                keeping.write_chunk(sql, claim_id, number, data, datetime.now(UTC))
        head, stored = read_head(claim_id, record), len(record) + sum(map(len, chunks))
        return KeptClaim(claim_id, head.audience, head.size, stored, head.chunks, datetime.now(UTC), record)

    async def keys(self, claim_id: str | None) -> list[str]:
        """The keys that a claim has in Redis: of its record, and of its chunks, which are not many."""
        key = f"{self.store.connection.prefix}claim:{{{claim_id}}}"
        possible = [key, *(f"{key}:{number}" for number in range(20))]
        there = await self.store.connection.ask_many(("EXISTS", one) for one in possible)
        return [one for one, is_there in zip(possible, there, strict=True) if is_there]

    async def forget(self, claim_id: str | None) -> None:
        """Take a claim out of Redis."""
        for key in await self.keys(claim_id):
            await self.store.connection.ask("DEL", key)

    async def expire(self, claim_id: str | None, at: int) -> None:
        """Have Redis forget a claim in this second."""
        for key in await self.keys(claim_id):
            await self.store.connection.ask("EXPIREAT", key, at)

    async def expiries(self, claim_id: str | None) -> set[int]:
        """The seconds in which Redis forgets a claim: one, if all is well, and none when it is gone."""
        return {await self.store.connection.ask("EXPIRETIME", key) for key in await self.keys(claim_id)}

    async def spoil(self, claim_id: str | None) -> None:
        """Turn the last bit of the last thing that Redis has of a claim."""
        key, ask = (await self.keys(claim_id))[-1], self.store.connection.ask
        last = int(await ask("STRLEN", key)) - 1
        byte: bytes = await ask("GETRANGE", key, last, last)
        await ask("SETRANGE", key, last, bytes([byte[0] ^ 1]))

    async def letters(self, found: Iterable[DeadLetter]) -> list[DeadLetter]:
        """These letters as they are now."""
        ids = [one.id for one in found]
        return await self.database.read(lambda sql: letters.many(sql, ids))

    async def tell(self, *tries: Attempt) -> None:
        """Record attempts as a worker does."""
        await self.database.run(lambda sql: outcomes.record(sql, tries))

    async def states(self, found: Iterable[DeadLetter]) -> list[str]:
        return [one.state for one in await self.letters(found)]


@dataclass
class Stage(Cemetery):
    """A whole house, and what is replayed in it."""

    house: House

    async def replay(
        self, found: Iterable[DeadLetter], *, rate: float | None = None, canary: bool = False
    ) -> Replay:
        """Make a job."""
        ids = [one.id for one in found]
        return await self.database.run(
            lambda sql: replays.create(sql, ids, ACT, selection={}, rate=rate, canary=canary)
        )

    def job(self, job: Replay) -> Replay:
        """The job as it is now."""
        with self.database.snapshot() as sql:
            return replays.get(sql, job.id)

    def is_in(self, job: Replay, *states: str) -> bool:
        return self.job(job).state in states

    def is_left(self, job: Replay) -> bool:
        """Whether no runner has it."""
        return self.job(job).runner is None

    def progress(self, job: Replay) -> Progress:
        with self.database.snapshot() as sql:
            return replays.progress(sql, job.id)

    def has_sent(self, job: Replay, at_least: int) -> bool:
        """Whether so many letters were sent, whatever became of them."""
        progress = self.progress(job)
        return progress.sent + progress.delivered + progress.dead_again >= at_least

    def skipped(self, job: Replay) -> dict[str, str]:
        """Why letters were not sent."""
        with self.database.snapshot() as sql:
            page = replays.items(sql, job.id, ["skipped"], limit=1000)
        return {item.letter.id: item.detail for item in page.rows}

    async def queued(self, endpoint: Endpoint, *, at_least: int = 0) -> list[Ticket] | None:
        """The tickets in an endpoint's queue, in their order, once there are so many; they stay there."""
        found: list[Ticket] = []
        consumer = Consumer(self.house.connection)
        await consumer.start(
            endpoint_queue(endpoint.id, endpoint.generation),
            prefetch=2000,
            on_delivery=lambda delivery: found.append(delivery.ticket()),
        )
        try:
            await eventually(lambda: 0 < at_least <= len(found), within=1.0 if at_least else 0.3)
        except AssertionError:
            return None if at_least else found
        finally:
            await consumer.stop()
        return found

    @asynccontextmanager
    async def running(
        self, name: str = "runner", *, publisher: Publisher | None = None
    ) -> AsyncIterator[Runner]:
        """A runner at work."""
        runner = Runner(
            self.database,
            self.store,
            self.holds,
            publisher or self.house.publisher,
            name=name,
            claim_life=LIFE,
            metrics=LettersMetrics(CollectorRegistry()),
        )
        task = asyncio.create_task(runner.run())
        try:
            yield runner
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def open_cemetery(redis_url: str, prefix: str, database_url: str) -> AsyncIterator[Cemetery]:
    with Database.open(database_url) as database:
        async with await ClaimStore.open(redis_url, prefix=prefix) as store:
            yield Cemetery(database, store, Holds(store.connection))


def attempt(
    letter: DeadLetter,
    replay: str | None,
    *,
    verdict: str = "delivered",
    next_: str = "ack",
    status: int | None = 204,
    detail: str | None = None,
) -> Attempt:
    """An attempt to deliver a letter's event to its endpoint, just now."""
    return Attempt(
        started_ms=int(time.time() * 1000),
        id=attempts.new_id(),
        endpoint_id=letter.endpoint_id or "",
        message_id=letter.message_id or "",
        verdict=verdict,
        participant_id=letter.participant_id or "",
        type=letter.type or "",
        claim_id=letter.claim_id or "",
        attempt=1,
        status=status,
        duration_ms=12,
        next=next_,
        detail=detail,
        answer_head=None,
        replay=replay,
        source="urn:tests",
        event_id="1",
        partitionkey=None,
        sequence=None,
    )


REJECTED: Final[dict[str, Any]] = {
    "verdict": "rejected",
    "next_": "retry in 5 s",
    "status": 422,
    "detail": "answered 422",
}
"""How an attempt fails as the letters did that `Cemetery.bury` makes."""
