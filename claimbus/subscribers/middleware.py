"""Webhooks for those who have an ASGI server of their own: Starlette, FastAPI, Django, Litestar."""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

from claimbus.subscribers.asgi import (
    COME_AGAIN,
    Answer,
    App,
    Intake,
    Receive,
    RefusedError,
    Scope,
    Send,
    headers_of,
)
from claimbus.subscribers.errors import MalformedEventError, SignatureError, SinkError, StoppingError
from claimbus.subscribers.received import MAX_BODY, Received
from claimbus.subscribers.room import Peers
from claimbus.subscribers.signature import TOLERANCE, Verifier

Handler = Callable[[Received], Awaitable[object]]
"""Takes an event. When it returns the event is acked; when it raises the event comes again."""

_log: Final = logging.getLogger(__name__)


class WebhookMiddleware:
    """An ASGI application that takes the ISO's webhooks at one path and leaves the rest to another.

    It answers 204 when ``handler`` has returned; 401 to what is not proved to be the ISO's, 400 to what is no
    event, 413 to a body over ``max_body`` bytes. After 500 (the handler raised SinkError) and 503 (it raised
    StoppingError, or too much waits already) the ISO tries again. What else the handler raises is the
    server's to answer, with 500. Events come at least once: dedupe by ``message_id``.

    ``path`` None stands for every path. ``OPTIONS`` is the handshake of CloudEvents' abuse protection; it is
    granted to the ``origins`` given, by default to any: it is the signature that protects.
    """

    def __init__(
        self,
        app: App,
        *,
        path: str | None,
        secrets: Sequence[str],
        handler: Handler,
        tolerance: timedelta = TOLERANCE,
        max_body: int = MAX_BODY,
        origins: Collection[str] | None = None,
        peers: Peers | None = None,
    ) -> None:
        """See `verify` for ``secrets`` and ``tolerance``, `Room` for ``peers``. Raises ConfigurationError."""
        self._app = app
        self._path = path
        self._verifier = Verifier(secrets, tolerance=tolerance)
        self._handler = handler
        self._peers = peers or Peers()
        self._intake = Intake(max_body, self._peers)
        self._origins = None if origins is None else {origin.lower() for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection of any of ASGI's kinds."""
        if scope["type"] != "http" or self._path not in (None, scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = headers_of(scope)
        try:
            match scope["method"]:
                case "POST":
                    answer = await self._take(headers, receive, peer=(scope.get("client") or ("unknown",))[0])
                case "OPTIONS":
                    answer = self._handshake(headers)
                case _:
                    answer = Answer(405, {"allow": "OPTIONS, POST"})
        except RefusedError as refused:
            if refused.answer is None:
                return
            answer = refused.answer
        await answer.send(send)

    async def _take(self, headers: Mapping[str, str], receive: Receive, *, peer: str) -> Answer:
        try:
            self._verifier.admit(headers)  # before the body is read: anybody may send one
            async with self._intake.body(headers, receive, peer) as body:
                event = self._verifier.verify(headers, body)
                self._peers.prove(peer)
                await self._handler(event)
        except SignatureError as wrong:
            _log.warning("webhook from %s refused: %s", peer, wrong)
            return Answer(401)
        except MalformedEventError as wrong:
            _log.warning("webhook from %s malformed: %s", peer, wrong)
            return Answer(400, text=str(wrong))
        except SinkError:
            return Answer(500)
        except StoppingError:
            return COME_AGAIN
        return Answer(204)

    def _handshake(self, headers: Mapping[str, str]) -> Answer:
        """Answer the validation request of CloudEvents' HTTP 1.1 Web Hooks for Event Delivery, section 4."""
        origin = headers.get("webhook-request-origin")
        if origin is None:
            return Answer(204, {"allow": "OPTIONS, POST"})
        if self._origins is not None and origin.lower() not in self._origins:
            return Answer(403)
        granted = {"allow": "OPTIONS, POST", "webhook-allowed-origin": origin}
        if "webhook-request-rate" in headers:
            granted["webhook-allowed-rate"] = "*"
        return Answer(200, granted)
