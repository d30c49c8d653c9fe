"""Publishing with Kombu: the body on the message, a blocking loop.

Kombu itself waits for each confirm; the window is py-amqp's (``basic_ack`` among a channel's events), which
is as much as it can give.
"""

import os
import secrets
import time
from importlib import import_module
from importlib.metadata import version
from typing import Any

from benchmarks.side import CONFIRMED, NO_PREFETCH, Outcome, Publishing, Stopwatch, play

kombu: Any = import_module("kombu")  # half typed, which strict checking cannot use


async def publish(order: Publishing) -> Outcome:
    with kombu.Connection(os.environ["CLAIMBUS_AMQP_URL"], transport="pyamqp") as connection:
        channel = connection.default_channel
        exchange = kombu.Exchange(order.exchange, "topic", durable=True, no_declare=True)
        producer = kombu.Producer(channel, exchange, routing_key=order.routing_key, auto_declare=False)
        published = 0
        unconfirmed: set[int] = set()

        def acked(tag: int, multiple: bool) -> None:
            unconfirmed.difference_update(range(min(unconfirmed), tag + 1) if multiple else (tag,))

        def nacked(tag: int, multiple: bool) -> None:
            raise RuntimeError(f"RabbitMQ refused message {tag}, multiple: {multiple}")

        channel.confirm_select()
        channel.events["basic_ack"].add(acked)
        channel.events["basic_nack"].add(nacked)
        watch = Stopwatch()
        for body in order.feed():
            producer.publish(
                body,
                delivery_mode=2,
                mandatory=True,
                content_type="application/json",
                content_encoding="utf-8",
                message_id=secrets.token_urlsafe(16),
                type=order.type,
                timestamp=int(time.time()),
            )
            published += 1
            unconfirmed.add(published)
            while len(unconfirmed) >= order.window:
                connection.drain_events()
        while unconfirmed:
            connection.drain_events()
        return watch.outcome(
            published,
            client=f"Kombu {version('kombu')}, blocking",
            message="body",
            window=order.window,
            prefetch=NO_PREFETCH,
            delivery=CONFIRMED,
        )


if __name__ == "__main__":
    play(Publishing, publish)
