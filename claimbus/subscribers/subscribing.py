"""What ``claimbus subscribe`` does: a stream's events into a sink, each acked once it was taken."""

import asyncio
from contextlib import suppress

from claimbus.subscribers.client import Subscription
from claimbus.subscribers.errors import SinkError, StoppingError
from claimbus.subscribers.inbox import Inbox


async def take_all(subscription: Subscription, inbox: Inbox) -> None:
    """Handle a subscription's events one by one until the inbox is stopped.

    An event that was not taken is nacked, so it comes again later. Raises what iterating over a subscription
    raises.
    """
    stopped = asyncio.create_task(inbox.stopped.wait())
    stopped.add_done_callback(lambda _: subscription.stop())
    try:
        async for delivery in subscription:
            with suppress(SinkError, StoppingError):  # both are logged
                async with delivery as event:
                    await inbox.handle(event)
    finally:
        stopped.cancel()
