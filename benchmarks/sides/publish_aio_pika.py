"""Publishing with aio-pika: the body on the message, a window of coroutines on one channel.

One channel because it is its best here: the more channels, the slower (measured with 1, 2, 4, 8 and 16).
"""

import os
import secrets
import time
from importlib.metadata import version

import aio_pika

from benchmarks.side import CONFIRMED, NO_PREFETCH, Outcome, Publishing, Stopwatch, play, side_by_side


async def publish(order: Publishing) -> Outcome:
    connection = await aio_pika.connect_robust(os.environ["CLAIMBUS_AMQP_URL"])
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.get_exchange(order.exchange, ensure=False)
        feed = order.feed()
        confirmed = 0

        async def one_by_one() -> None:
            nonlocal confirmed
            for body in feed:
                message = aio_pika.Message(
                    body,
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    content_type="application/json",
                    message_id=secrets.token_urlsafe(16),
                    type=order.type,
                    timestamp=int(time.time()),
                )
                await exchange.publish(message, order.routing_key, mandatory=True)
                confirmed += 1

        watch = Stopwatch()
        await side_by_side(order.window, one_by_one)
        return watch.outcome(
            confirmed,
            client=f"aio-pika {version('aio-pika')}, uvloop",
            message="body",
            window=order.window,
            prefetch=NO_PREFETCH,
            delivery=CONFIRMED,
        )


if __name__ == "__main__":
    play(Publishing, publish)
