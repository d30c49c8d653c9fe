"""What ``claimbus subscribe`` does: a stream's events into a sink, each acked once it was taken."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Final

import structlog

from claimbus.subscribers.claims import BodyRefusedError, BodyUnavailableError
from claimbus.subscribers.client import Delivery, Subscription
from claimbus.subscribers.errors import SinkError, StoppingError
from claimbus.subscribers.inbox import Inbox
from claimbus.subscribers.received import Received

_log: Final = structlog.get_logger("claimbus.subscribers")


async def take_all(subscription: Subscription, inbox: Inbox) -> None:
    """Handle a subscription's events one by one until the inbox is stopped.

    An event that was not taken is nacked, so it comes again later. Raises what iterating over a subscription
    raises.
    """
    stopped = asyncio.create_task(inbox.stopped.wait())
    stopped.add_done_callback(lambda _: subscription.stop())
    try:
        async for delivery in subscription:
            with suppress(SinkError, StoppingError, BodyRefusedError, BodyUnavailableError):  # all are logged
                async with delivery as event:
                    await inbox.handle(event if event.dataref is None else await _whole(delivery))
    finally:
        stopped.cancel()


async def _whole(delivery: Delivery) -> Received:
    """Return an event with its body, which did not come in its frame."""
    body = BytesIO()  # hands out what it holds without a copy
    try:
        async for chunk in delivery.chunks():
            body.write(chunk)
    except (BodyRefusedError, BodyUnavailableError) as failed:
        message_id = delivery.event.message_id
        _log.warning("event not taken", message_id=message_id, reason=str(failed), next="it comes again")
        raise
    return replace(delivery.event, body=body.getvalue(), dataref=None)
