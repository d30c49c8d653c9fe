"""The participant's side: what a participant installs to receive events and to trust them.

`verify` for a webhook's request, `WebhookMiddleware` for your own ASGI server, `subscribe` for a stream.
"""

from claimbus.subscribers.client import Delivery, Subscription, subscribe
from claimbus.subscribers.errors import (
    BodyRefusedError,
    BodyUnavailableError,
    MalformedEventError,
    SignatureError,
    SinkError,
    StoppingError,
)
from claimbus.subscribers.middleware import WebhookMiddleware
from claimbus.subscribers.received import Received
from claimbus.subscribers.signature import verify
from claimbus.subscribers.stream import StreamRefusedError

__all__ = [
    "BodyRefusedError",
    "BodyUnavailableError",
    "Delivery",
    "MalformedEventError",
    "Received",
    "SignatureError",
    "SinkError",
    "StoppingError",
    "StreamRefusedError",
    "Subscription",
    "WebhookMiddleware",
    "subscribe",
    "verify",
]
