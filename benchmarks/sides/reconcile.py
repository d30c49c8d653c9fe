"""Steps of the benchmark of reconcile: what is to be accounted for, and the account."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Final

from benchmarks.bodies import TYPE, body
from benchmarks.product import ACT, SUBSCRIPTION, participant
from benchmarks.rows import delivered
from benchmarks.side import CONFIRMED, Outcome, Reconciling, Stopwatch, play, side_by_side
from claimbus.cli.settings import load
from claimbus.cli.wiring import Wiring
from claimbus.database import attempts, endpoints, participants
from claimbus.deadletters.expected import DOUBT
from claimbus.deadletters.reconcile import Reconciliation
from claimbus.events.event import audience_of
from consumers.provision import Provision

BATCH: Final = 5000
SIZE: Final = 2048


async def fill(order: Reconciling, wiring: Wiring) -> Outcome:
    """Publish to endpoints that nobody serves, and record each delivery as made."""
    database, store = wiring.database(), await wiring.store()
    producer = wiring.producer(store, await wiring.publisher("benchmark"), "oms")
    provision = Provision(database, await wiring.connection("benchmark"))
    names = [participant(number) for number in range(order.endpoints)]
    for name in names:
        with database.transaction() as sql:
            participants.add(sql, name, name, ACT)
            chosen = {"name": "sink", "url": "https://203.0.113.1/", "verified": True}
            added = endpoints.add(sql, name, ACT, subscriptions=[SUBSCRIPTION], **chosen)  # type: ignore[arg-type]
        await provision.give(added.id)
    await asyncio.sleep(DOUBT + 1)  # sooner, it is doubtful for whom an event was meant
    watch, audience, whole = Stopwatch(), audience_of(names), body(0, SIZE)
    numbers, published = iter(range(order.entries)), list[str]()

    async def one_by_one() -> None:
        for _ in numbers:
            event = producer.event(TYPE, whole, audience=audience)
            published.append((await producer.publish(event, fresh=True)).message_id)

    await side_by_side(order.window, one_by_one)
    found = await database.read(endpoints.find)
    rows = (
        delivered(
            number,
            endpoint=one.id,
            participant=one.participant_id,
            started_ms=int(time.time() * 1000),
        )._replace(message_id=message_id)
        for number, message_id in enumerate(published)
        for one in found
    )
    while batch := list(islice(rows, BATCH)):
        with database.transaction() as sql:
            attempts.record(sql, batch)
    return watch.outcome(order.entries, delivery=CONFIRMED)


async def reconcile(order: Reconciling, wiring: Wiring) -> Outcome:
    """Account for it all."""
    reconciliation = Reconciliation(
        wiring.database(),
        await wiring.store(),
        await wiring.connection("benchmark"),
        wiring.topology.ladder,
        wiring.settings.claim_life,
    )
    watch = Stopwatch()
    found = await reconciliation.run()
    return watch.outcome(found.delivered, settled=str(found.settled), expected=found.expected)


STEPS: Final[dict[str, Callable[[Reconciling, Wiring], Awaitable[Outcome]]]] = {
    step.__name__: step for step in (fill, reconcile)
}


async def carry_out(order: Reconciling) -> Outcome:
    settings = load(
        amqp_url=os.environ["CLAIMBUS_AMQP_URL"],
        redis_url=os.environ["CLAIMBUS_REDIS_URL"],
        key_prefix=order.key_prefix,
        database_url=f"sqlite:///{order.database}",
    )
    async with Wiring(settings) as wiring:
        return await STEPS[order.step](order, wiring)


if __name__ == "__main__":
    play(Reconciling, carry_out)
