"""Processes to be killed: ``python -m tests.producers.outboxes``.

``put FILE`` prints an event's identity as soon as the outbox has accepted it; ``relay FILE AMQP_URL
REDIS_URL PREFIX`` prints ``ready`` first.
"""

import asyncio
import itertools
import sys
from pathlib import Path

from claimbus.broker.publisher import Publisher
from claimstore.identities import Identities
from claimstore.store import ClaimStore
from producers.outbox import Outbox
from producers.producer import Producer
from producers.relay import relay
from tests.producers.bus import LIFE, SOURCE, TOPOLOGY, closed


def put(file: str) -> None:
    with Outbox(Path(file)) as outbox:
        for number in itertools.count(1):
            event = closed(number)
            outbox.put(event)
            print(event.identity, flush=True)


async def carry(file: str, amqp_url: str, redis_url: str, prefix: str) -> None:
    async with await ClaimStore.open(redis_url, prefix=prefix, life=LIFE) as store:
        publisher = await Publisher.open(amqp_url, topology=TOPOLOGY, window=2)
        producer = Producer(store, Identities(store.connection, life=LIFE), publisher, source=SOURCE)
        print("ready", flush=True)
        with Outbox(Path(file)) as outbox:
            await relay(outbox, producer)
        await publisher.aclose()


if __name__ == "__main__":
    if sys.argv[1] == "put":
        put(*sys.argv[2:])
    else:
        asyncio.run(carry(*sys.argv[2:]))
