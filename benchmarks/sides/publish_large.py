"""Publishing large bodies with claimbus, one after another, each streamed from a file."""

import os
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.side import CONFIRMED, Outcome, Publishing, Stopwatch, play
from claimbus.broker.publisher import Publisher
from claimstore.identities import Identities
from claimstore.store import LIFE, ClaimStore
from producers.producer import Producer

PIECE: Final = 1 << 16


async def publish(order: Publishing) -> Outcome:
    publisher = await Publisher.open(os.environ["CLAIMBUS_AMQP_URL"], window=order.window)
    async with await ClaimStore.open(os.environ["CLAIMBUS_REDIS_URL"], prefix=order.key_prefix) as store:
        identities = Identities(store.connection, life=LIFE)
        producer = Producer(store, identities, publisher, source="//benchmark.example/oms")
        watch = Stopwatch()
        for _ in range(order.events):
            event = producer.event(order.type, b"", datacontenttype="application/octet-stream")
            await producer.publish_stream(event, _pieces(Path(order.bodies)))
        outcome = watch.outcome(
            order.events,
            client=f"claimbus {version('claimbus')}, uvloop",
            message="ticket, the body in chunks in Redis before",
            delivery=CONFIRMED,
        )
        await publisher.aclose()
        return outcome


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


if __name__ == "__main__":
    play(Publishing, publish)
