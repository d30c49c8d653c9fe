"""Publishing with FastStream: the body on the message, a window of coroutines on one channel.

Without validation of arguments and without logging, which would only cost it time.
"""

import os
import secrets
import time
from importlib.metadata import version

from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange

from benchmarks.side import CONFIRMED, NO_PREFETCH, Outcome, Publishing, Stopwatch, play, side_by_side


async def publish(order: Publishing) -> Outcome:
    channel = Channel(publisher_confirms=True, on_return_raises=True)
    url = os.environ["CLAIMBUS_AMQP_URL"]
    async with RabbitBroker(url, default_channel=channel, logger=None, apply_types=False) as broker:
        exchange = RabbitExchange(order.exchange, type=ExchangeType.TOPIC, durable=True, declare=False)
        publisher = broker.publisher(
            exchange=exchange, routing_key=order.routing_key, persist=True, mandatory=True
        )
        await broker.start()
        feed = order.feed()
        confirmed = 0

        async def one_by_one() -> None:
            nonlocal confirmed
            for body in feed:
                await publisher.publish(
                    body,
                    content_type="application/json",
                    message_id=secrets.token_urlsafe(16),
                    message_type=order.type,
                    timestamp=int(time.time()),
                )
                confirmed += 1

        watch = Stopwatch()
        await side_by_side(order.window, one_by_one)
        return watch.outcome(
            confirmed,
            client=f"FastStream {version('faststream')}, uvloop",
            message="body",
            window=order.window,
            prefetch=NO_PREFETCH,
            delivery=CONFIRMED,
        )


if __name__ == "__main__":
    play(Publishing, publish)
