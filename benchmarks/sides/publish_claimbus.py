"""Publishing with claimbus: the body checked in, the ticket published and confirmed.

With everything that a producer does: each body is checked against its schema, hashed and compressed when that
pays.
"""

import os
from importlib.metadata import version

from benchmarks.side import CONFIRMED, NO_PREFETCH, Outcome, Publishing, Stopwatch, play, side_by_side
from claimbus.broker.publisher import Publisher
from claimbus.events.event import ALL, Audience
from claimstore.identities import Identities
from claimstore.store import LIFE, ClaimStore
from producers.producer import Producer


async def publish(order: Publishing) -> Outcome:
    participant = order.routing_key.rpartition(".")[2]
    audience: Audience = ALL if participant == ALL else frozenset({participant})
    publisher = await Publisher.open(os.environ["CLAIMBUS_AMQP_URL"], window=order.window)
    async with await ClaimStore.open(os.environ["CLAIMBUS_REDIS_URL"], prefix=order.key_prefix) as store:
        identities = Identities(store.connection, life=LIFE)
        producer = Producer(store, identities, publisher, source="//benchmark.example/oms")
        feed = order.feed()
        confirmed = 0

        async def one_by_one() -> None:
            nonlocal confirmed
            for body in feed:
                await producer.publish(producer.event(order.type, body, audience=audience), fresh=True)
                confirmed += 1

        watch = Stopwatch()
        await side_by_side(order.window, one_by_one)
        outcome = watch.outcome(
            confirmed,
            client=f"claimbus {version('claimbus')}, uvloop",
            message="ticket, the body in Redis before",
            window=order.window,
            prefetch=NO_PREFETCH,
            delivery=CONFIRMED,
        )
        await publisher.aclose()
        return outcome


if __name__ == "__main__":
    play(Publishing, publish)
