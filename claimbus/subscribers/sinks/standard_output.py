"""``--stdout``: one line of JSON an event, for a pipe."""

import asyncio
import base64
import sys
from typing import BinaryIO, Final

import orjson

from claimbus.events.bodies import is_json
from claimbus.subscribers.errors import SinkClosedError
from claimbus.subscribers.received import Received
from claimbus.subscribers.sinks.sink import Done, Sink


class StandardOutputSink(Sink):
    """At least once: after a kill the last line may come again. A body is in memory to become a line."""

    def __init__(self, output: BinaryIO | None = None) -> None:
        # Unbuffered: what nobody reads any more must not be flushed once more at exit, which then is 120.
        self._output = output or open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115

    async def take(self, event: Received, done: Done) -> None:
        """Write the event's line and flush it. Raises SinkClosedError when nobody reads any more."""
        await asyncio.to_thread(lambda: self._write(line(event)))
        await done()

    async def aclose(self) -> None:
        """Leave the output open: it is not ours."""

    def _write(self, text: bytes) -> None:
        try:
            rest = memoryview(text)
            while rest:
                rest = rest[self._output.write(rest) :]
            self._output.flush()
        except OSError as gone:
            raise SinkClosedError(f"standard output: {gone.strerror}") from gone


def line(event: Received) -> bytes:
    """Return an event as a line of JSON.

    ``body`` is the body itself when it is JSON, or a string when it is text in UTF-8; ``body_base64`` stands
    in for it otherwise, and ``dataref`` when it must be fetched.
    """
    found: dict[str, object] = {
        "message_id": event.message_id,
        "attempt": event.attempt,
        "replay": event.replay,
        "event": dict(event.attributes),
    }
    return orjson.dumps(found | _body(event), option=orjson.OPT_APPEND_NEWLINE)


def _body(event: Received) -> dict[str, object]:
    body = event.body if event.file is None else event.file.read()
    if body is None:
        return {"dataref": event.dataref}
    if is_json(event.datacontenttype) and _parses(body):
        # As it came, with the precision of its numbers. A line break in JSON is white space, never content.
        return {"body": orjson.Fragment(body.translate(_ONE_LINE))}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def _parses(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")
