"""``/v1/endpoints/{id}/stream``: an endpoint's events over a WebSocket, by `claimbus.events.stream`."""

from contextlib import suppress
from functools import partial

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from claimbus.events.stream import DEFAULT_PREFETCH, MAX_PREFETCH, SUBPROTOCOL
from claimbus.portal.problems import ProblemError, answer
from claimbus.portal.services import services
from claimbus.portal.stream_connection import Peer
from claimbus.portal.stream_window import GoneError

MAX_CLOSE_REASON = 100
"""Characters, printable ASCII; a close frame has room for 123 bytes."""

router = APIRouter(tags=["streams"])


@router.websocket("/v1/endpoints/{endpoint_id}/stream")
async def stream(websocket: WebSocket, endpoint_id: str) -> None:
    """Serve a stream. What is no proper request for one is answered by HTTP, the rest by a close code."""
    try:
        window = _window(websocket)
    except ProblemError as problem:
        await websocket.send_denial_response(answer(problem))
        return
    await websocket.accept(SUBPROTOCOL)
    found = services(websocket)
    close = await found.streams.serve(
        endpoint_id, partial(found.identity.of, websocket), _peer(websocket), window=window
    )
    if close is not None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await websocket.close(close.code, close.reason[:MAX_CLOSE_REASON])


def _window(websocket: WebSocket) -> int:
    """Return how many deliveries may be unanswered. Raises ProblemError."""
    if "origin" in websocket.headers:  # a browser's: any page could use the certificate that is in it
        raise ProblemError(403, "streams are for programs, not for pages in a browser")
    if SUBPROTOCOL not in websocket.scope["subprotocols"]:
        raise ProblemError(400, f"ask for the subprotocol {SUBPROTOCOL}")
    prefetch = websocket.query_params.get("prefetch", str(DEFAULT_PREFETCH))
    if not (prefetch.isascii() and prefetch.isdecimal() and 1 <= int(prefetch[:9]) <= MAX_PREFETCH):
        raise ProblemError(422, f"must be a whole number from 1 to {MAX_PREFETCH}", field="prefetch")
    return int(prefetch)


def _peer(websocket: WebSocket) -> Peer:
    async def send(frame: bytes) -> None:
        try:
            await websocket.send({"type": "websocket.send", "bytes": frame})
        except (WebSocketDisconnect, RuntimeError) as gone:  # the latter after uvicorn itself closed it
            raise GoneError from gone

    async def receive() -> bytes | str | None:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        frame: bytes | None = message.get("bytes")
        text: str | None = message.get("text")
        return text if frame is None else frame

    return Peer(send, receive)
