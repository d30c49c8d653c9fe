"""Fills RabbitMQ, Redis or the database with much of one thing, as cheaply as that goes."""

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from benchmarks.bodies import DIFFERENT, TYPE, body
from benchmarks.product import ACT, SUBSCRIPTION, settings
from benchmarks.rows import Chosen, Rows
from benchmarks.side import Filling, Outcome, Stopwatch, play, side_by_side
from claimbus.cli.wiring import Wiring
from claimbus.database import attempts, endpoints, letters, participants
from claimbus.database.endpoint import Endpoint
from claimbus.events.event import audience_of
from claimbus.events.routing import route
from claimbus.events.ticket import Ticket
from claimstore.claim import new_claim_id
from claimstore.identities import Identities
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
    publisher, way = await wiring.publisher("benchmark"), route(TYPE, audience_of([ABSENT]))
    await _paused(order, wiring)
    await _send(order, lambda ticket: publisher.publish_ticket(ticket, way))


async def waiting(order: Filling, wiring: Wiring) -> None:
    """Do the same past the journal, as a recovery does."""
    publisher, endpoint = await wiring.publisher("benchmark"), await _paused(order, wiring)
    await _send(
        order, lambda ticket: publisher.publish_redelivery(replace(ticket, endpoint=endpoint.id, released=1))
    )


async def entries(order: Filling, wiring: Wiring) -> None:
    """Publish tickets that nobody is to receive, so that the journal alone has them."""
    publisher, way = await wiring.publisher("benchmark"), route(TYPE, audience_of([ABSENT]))
    await _send(order, lambda ticket: publisher.publish_ticket(ticket, way))


async def _paused(order: Filling, wiring: Wiring) -> Endpoint:
    """Return the paused endpoint, added unless it is there."""
    database = wiring.database()
    with database.transaction() as sql:
        if found := endpoints.find(sql, participant_id=ABSENT):
            return found[0]
        participants.add(sql, ABSENT, ABSENT, ACT)
        chosen = {"name": "sink", "url": f"{order.sink}/0", "allow_http": True, "verified": True}
        endpoint = endpoints.add(sql, ABSENT, ACT, subscriptions=[SUBSCRIPTION], **chosen)  # type: ignore[arg-type]
        endpoints.pause(sql, endpoint.id, ACT)
    await Provision(database, await wiring.connection("benchmark")).give(endpoint.id)
    return endpoint


async def _send(order: Filling, send: Callable[[Ticket], Awaitable[None]]) -> None:
    now, numbers = int(time.time()), iter(range(order.count))

    async def one_by_one() -> None:
        for number in numbers:
            await send(
                Ticket(
                    claim_id=secrets.token_urlsafe(16),
                    message_id=f"evt_{number:024}",
                    type=TYPE,
                    timestamp=now,
                    expires=now + 7 * 86400,
                )
            )

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


async def identities(order: Filling, wiring: Wiring) -> None:
    """Remember events as published, as is done for those whose IDs their producers made."""
    remembered = Identities((await wiring.store()).connection, life=wiring.settings.claim_life)
    for numbers in _batches(order.count):
        names = [f"evt_{secrets.token_urlsafe(18)}" for _ in numbers]
        await remembered.begin_many((name, secrets.token_bytes(32), new_claim_id()) for name in names)
        await remembered.confirm(names)


async def records(order: Filling, wiring: Wiring) -> None:
    """Record attempts of the last days, and a dead letter beside every tenth, all of one endpoint."""
    await _record(order, wiring, lambda rows: (rows.attempts(), rows.letters(LETTERS), []))


async def attempts_alone(order: Filling, wiring: Wiring) -> None:
    """Record attempts without letters."""
    await _record(order, wiring, lambda rows: (rows.attempts(), [], []))


async def letters_alone(order: Filling, wiring: Wiring) -> None:
    """Record letters without attempts or bodies."""
    await _record(order, wiring, lambda rows: ([], rows.letters(), []))


async def bodies_alone(order: Filling, wiring: Wiring) -> None:
    """Keep claims as letters need them, without the letters."""
    await _record(order, wiring, lambda rows: ([], [], rows.bodies()))


async def _record(order: Filling, wiring: Wiring, chosen: Callable[[Rows], Chosen]) -> None:
    database = wiring.database()
    found = await database.read(endpoints.find)
    if not found:
        await wiring.publisher("benchmark")  # it declares the topology
        found = (await _paused(order, wiring),)
    begin, step = datetime.now(UTC) - KEPT, KEPT / max(order.count, 1)
    for numbers in _batches(order.count):
        rows = Rows(found[0], [(number, begin + number * step) for number in numbers])
        some_attempts, some_letters, bodies = chosen(rows)
        with database.transaction() as sql:
            attempts.record(sql, some_attempts)
            letters.record(sql, some_letters, [rows.group] if some_letters else [], bodies)


def _batches(count: int) -> Iterable[range]:
    return (range(start, min(start + BATCH, count)) for start in range(0, count, BATCH))


FILLS: Final[dict[str, Callable[[Filling, Wiring], Awaitable[None]]]] = {
    "attempts": attempts_alone,
    "bodies": bodies_alone,
    "claims": claims,
    "entries": entries,
    "identities": identities,
    "letters": letters_alone,
    "records": records,
    "tickets": tickets,
    "waiting": waiting,
}


async def fill(order: Filling) -> Outcome:
    watch = Stopwatch()
    async with Wiring(settings(order)) as wiring:
        await FILLS[order.what](order, wiring)
    return watch.outcome(order.count)


if __name__ == "__main__":
    play(Filling, fill)
