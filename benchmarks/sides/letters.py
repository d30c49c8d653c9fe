"""Steps of the benchmark of dead letters, each a process of its own; `benchmarks.letters` has their order."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from itertools import cycle, islice
from typing import Final, get_args

from prometheus_client import CollectorRegistry

from benchmarks.bodies import TYPE
from benchmarks.product import ACT, SUBSCRIPTION
from benchmarks.side import CONFIRMED, Keeping, Outcome, Stopwatch, play, side_by_side
from claimbus.broker.codec import Letter
from claimbus.broker.topology import DEADLETTERS, message_counts
from claimbus.cli.settings import load
from claimbus.cli.wiring import Wiring
from claimbus.cli.wiring.attendant import open_attendant
from claimbus.database import endpoints, letters, participants, replays
from claimbus.database.engine import Database
from claimbus.database.groups import By
from claimbus.database.letters import Filter
from claimbus.events.event import audience_of
from claimbus.events.ticket import Ticket
from consumers.provision import Provision
from producers.producer import Producer

DEAD: Final = Filter()
LOOKS: Final = 5
"""Times that a list is asked for; the slowest counts."""

LOOK_EVERY: Final = 0.05
CAUSES: Final = (("rejected", 422, "Unprocessable"), ("attempts exhausted", 503, "Service Unavailable"))


async def fill(order: Keeping, wiring: Wiring) -> Outcome:
    """Make endpoints with queues, and put the letters, each with a claim of its own, into `DEADLETTERS`."""
    database, store = wiring.database(), await wiring.store()
    publisher = await wiring.publisher("benchmark")
    producer = wiring.producer(store, publisher, "oms")
    with database.transaction() as sql:
        for number in range(order.endpoints):
            name = f"P{number:03}"
            participants.add(sql, name, name, ACT)
            chosen = {"name": "sink", "url": "https://203.0.113.1/", "verified": True}
            endpoints.add(sql, name, ACT, subscriptions=[SUBSCRIPTION], **chosen)  # type: ignore[arg-type]
    provision = Provision(database, await wiring.connection("benchmark"))
    found = await database.read(endpoints.find)
    for endpoint in found:
        await provision.give(endpoint.id)
    todo = iter(zip(islice(cycle(found), order.letters), cycle(order.bodies_to_take()), strict=False))
    watch = Stopwatch()

    async def one_by_one() -> None:
        for number, (endpoint, body) in enumerate(todo):
            event = producer.event(TYPE, body, audience=audience_of([endpoint.participant_id]))
            place = await store.check_in(event)
            ticket = Ticket(
                claim_id=place.claim_id,
                message_id=event.identity,
                type=event.type,
                timestamp=int(event.time.timestamp()),
                expires=place.expires,
                endpoint=endpoint.id,
                attempt=3,
            )
            cause, status, reason = CAUSES[number % len(CAUSES)]
            detail = f"{status} {reason}: order {number}"
            await publisher.publish_letter(
                Letter(
                    body=ticket.body(),
                    ticket=ticket,
                    endpoint=endpoint.id,
                    cause=cause,
                    detail=detail,
                    attempts=3,
                    status=status,
                )
            )

    await side_by_side(order.window, one_by_one)
    return watch.outcome(order.letters, endpoints=order.endpoints)


async def record(order: Keeping, wiring: Wiring) -> Outcome:
    """Record what lies in the queue, with the bodies."""
    registry = CollectorRegistry()
    attendant, connection = await open_attendant(wiring, registry), await wiring.connection("benchmark")
    stop, watch = asyncio.Event(), Stopwatch()
    running = asyncio.create_task(attendant.run(stop))

    async def recorded() -> bool:
        return (registry.get_sample_value("claimbus_letters_recorded_total") or 0) >= order.letters

    await _until(recorded)
    outcome = watch.outcome(order.letters, body_bytes=order.size, database="SQLite, every commit synced")
    stop.set()
    await running
    if (left := (await message_counts(connection, [DEADLETTERS]))[DEADLETTERS]) and left.messages:
        raise SystemExit(f"{left.messages} letters are still in the queue")
    return outcome


async def look(order: Keeping, wiring: Wiring) -> Outcome:
    """List the groups by everything that there is; milliseconds, the slowest of several looks."""
    database, watch = wiring.database(), Stopwatch()
    figures: dict[str, str | int] = {}
    for by in get_args(By):
        figures[by] = max(_milliseconds(database, by) for _ in range(LOOKS))
    return watch.outcome(order.letters, **figures)


async def replay(order: Keeping, wiring: Wiring) -> Outcome:
    """Replay everything, with neither canary nor rate limit, until the last one is confirmed."""
    database = wiring.database()
    attendant = await open_attendant(wiring, CollectorRegistry())
    ids = await database.read(lambda sql: letters.select_ids(sql, DEAD))
    begun = time.monotonic()
    job = await database.run(lambda sql: replays.create(sql, ids, ACT, selection={}, rate=None, canary=False))
    made = time.monotonic() - begun
    stop, watch = asyncio.Event(), Stopwatch()
    running = asyncio.create_task(attendant.run(stop))

    async def sent() -> bool:
        return (await database.read(lambda sql: replays.get(sql, job.id))).state == "sent"

    await _until(sent)
    outcome = watch.outcome(len(ids), making_the_job_ms=round(made * 1000), delivery=CONFIRMED)
    stop.set()
    await running
    return outcome


async def publish(order: Keeping, wiring: Wiring) -> Outcome:
    """Publish as many events as there are letters, to the same endpoints: what a replay is compared with."""
    database, store = wiring.database(), await wiring.store()
    producer = wiring.producer(store, await wiring.publisher("benchmark"), "oms")
    found = [one.participant_id for one in await database.read(endpoints.find)]
    todo = iter(zip(islice(cycle(found), order.letters), cycle(order.bodies_to_take()), strict=False))
    watch = Stopwatch()
    await side_by_side(order.window, lambda: _publish(producer, todo))
    return watch.outcome(order.letters, window=order.window, delivery=CONFIRMED)


async def _publish(producer: Producer, todo: "zip[tuple[str, bytes]]") -> None:
    for participant, body in todo:
        await producer.publish(producer.event(TYPE, body, audience=audience_of([participant])), fresh=True)


STEPS: Final[dict[str, Callable[[Keeping, Wiring], Awaitable[Outcome]]]] = {
    step.__name__: step for step in (fill, record, look, replay, publish)
}


async def carry_out(order: Keeping) -> Outcome:
    settings = load(
        amqp_url=os.environ["CLAIMBUS_AMQP_URL"],
        redis_url=os.environ["CLAIMBUS_REDIS_URL"],
        key_prefix=order.key_prefix,
        database_url=f"sqlite:///{order.database}",
    )
    async with Wiring(settings) as wiring:
        return await STEPS[order.step](order, wiring)


def _milliseconds(database: Database, by: By) -> int:
    begun = time.monotonic()
    with database.snapshot() as sql:
        letters.groups(sql, DEAD, by=by)
    return round((time.monotonic() - begun) * 1000)


async def _until(look: Callable[[], Awaitable[bool]]) -> None:
    while not await look():  # noqa: ASYNC110 - rows in a database wake nobody
        await asyncio.sleep(LOOK_EVERY)


if __name__ == "__main__":
    play(Keeping, carry_out)
