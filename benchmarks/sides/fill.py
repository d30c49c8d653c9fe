"""Fills RabbitMQ, Redis or the database with much of one thing, as cheaply as that goes."""

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from benchmarks.bodies import DIFFERENT, TYPE, body
from benchmarks.product import ACT, SUBSCRIPTION, settings
from benchmarks.side import Filling, Outcome, Stopwatch, play, side_by_side
from claimbus.cli.wiring import Wiring
from claimbus.database import attempts, endpoints, letters, participants
from claimbus.database.attempts import Attempt
from claimbus.database.letter import DeadLetter, letter_id
from claimbus.events.event import audience_of
from claimbus.events.fingerprint import fingerprint
from claimbus.events.routing import route
from claimbus.events.ticket import Ticket
from consumers.provision import Provision

ABSENT: Final = "ABSENT"
"""The participant whose endpoint is paused, so that its queue keeps everything."""

WINDOW: Final = 500
BATCH: Final = 5000
LETTERS: Final = 10
"""Of so many records of attempts one is beside a dead letter."""

KEPT: Final = timedelta(days=80)
"""Over which records are spread."""


async def tickets(order: Filling, wiring: Wiring) -> None:
    """Let tickets wait in the queue of a paused endpoint; they have no claims."""
    database, publisher = wiring.database(), await wiring.publisher("benchmark")
    with database.transaction() as sql:
        participants.add(sql, ABSENT, ABSENT, ACT)
        chosen = {"name": "sink", "url": f"{order.sink}/0", "allow_http": True, "verified": True}
        endpoint = endpoints.add(sql, ABSENT, ACT, subscriptions=[SUBSCRIPTION], **chosen)  # type: ignore[arg-type]
        endpoints.pause(sql, endpoint.id, ACT)
    await Provision(database, await wiring.connection("benchmark")).give(endpoint.id)
    now, way, numbers = int(time.time()), route(TYPE, audience_of([ABSENT])), iter(range(order.count))

    async def one_by_one() -> None:
        for number in numbers:
            ticket = Ticket(
                claim_id=secrets.token_urlsafe(16),
                message_id=f"evt_{number:024}",
                type=TYPE,
                timestamp=now,
                expires=now + 7 * 86400,
            )
            await publisher.publish_ticket(ticket, way)

    await side_by_side(WINDOW, one_by_one)


async def claims(order: Filling, wiring: Wiring) -> None:
    """Check bodies in, each for one participant."""
    store = await wiring.store()
    producer = wiring.producer(store, await wiring.publisher("benchmark"), "oms")
    bodies, audience = [body(number, order.size) for number in range(DIFFERENT)], audience_of([ABSENT])
    for numbers in _batches(order.count):
        await store.check_in_many(
            producer.event(TYPE, bodies[number % DIFFERENT], audience=audience) for number in numbers
        )


async def records(order: Filling, wiring: Wiring) -> None:
    """Record attempts of the last days, and a dead letter beside every tenth, all of one endpoint."""
    database = wiring.database()
    (endpoint, *_) = await database.read(endpoints.find)
    begin, step = datetime.now(UTC) - KEPT, KEPT / max(order.count, 1)
    group = fingerprint("rejected", 422, "Unprocessable")

    def attempt(number: int) -> Attempt:
        return Attempt(
            started_ms=int((begin + number * step).timestamp() * 1000),
            id=attempts.new_id(),
            endpoint_id=endpoint.id,
            message_id=f"evt_{number:024}",
            verdict="delivered",
            participant_id=endpoint.participant_id,
            type=TYPE,
            claim_id=secrets.token_urlsafe(16),
            attempt=1,
            status=204,
            duration_ms=3,
            next="ack",
            detail=None,
            answer_head=None,
            replay=None,
            source="urn:claimbus:benchmark:oms",
            event_id=str(number),
            partitionkey=None,
            sequence=None,
        )

    def letter(number: int) -> DeadLetter:
        died = begin + number * step
        return DeadLetter(
            id=letter_id(endpoint.id, f"evt_{number:024}", number, None),
            state_at=died,
            died_at=died,
            cause="rejected",
            fingerprint=group.id,
            status=422,
            detail="422 Unprocessable",
            attempts=3,
            endpoint_id=endpoint.id,
            participant_id=endpoint.participant_id,
            message_id=f"evt_{number:024}",
            type=TYPE,
        )

    for numbers in _batches(order.count):
        with database.transaction() as sql:
            attempts.record(sql, [attempt(number) for number in numbers])
            letters.record(sql, [letter(number) for number in numbers if not number % LETTERS], [group], [])


def _batches(count: int) -> Iterable[range]:
    return (range(start, min(start + BATCH, count)) for start in range(0, count, BATCH))


FILLS: Final[dict[str, Callable[[Filling, Wiring], Awaitable[None]]]] = {
    fill.__name__: fill for fill in (tickets, claims, records)
}


async def fill(order: Filling) -> Outcome:
    watch = Stopwatch()
    async with Wiring(settings(order)) as wiring:
        await FILLS[order.what](order, wiring)
    return watch.outcome(order.count)


if __name__ == "__main__":
    play(Filling, fill)
