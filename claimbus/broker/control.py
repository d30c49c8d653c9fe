"""Hearing at once what happens to endpoints."""

import logging
from collections.abc import Callable

from claimbus.broker import topology
from claimbus.broker.channel import Channel
from claimbus.broker.codec import Announcement, read_announcement
from claimbus.broker.connection import Connection
from claimbus.broker.consumer import Consumer, Delivery

_log = logging.getLogger(__name__)


async def listen(connection: Connection, on_announcement: Callable[[Announcement], None]) -> Consumer:
    """Call back with every announcement on ``control`` from now on, until the consumer is stopped.

    The queue lives and dies with the connection: what is announced while it is lost is not heard, so the
    owner looks for itself now and then.
    """

    def take(delivery: Delivery) -> None:
        announcement = read_announcement(delivery.body)
        delivery.ack()
        if announcement is None:
            _log.warning(
                "an announcement that this version does not understand (%d bytes)", len(delivery.body)
            )
        else:
            on_announcement(announcement)

    consumer = Consumer(connection)
    await consumer.start(_exclusive_queue, prefetch=100, on_delivery=take)
    return consumer


async def _exclusive_queue(channel: Channel) -> str:
    queue = await channel.declare_exclusive_queue()
    await channel.bind(queue, topology.CONTROL)
    return queue
