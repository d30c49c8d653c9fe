"""pika's connection with the frames of the hot path taken past it, and one socket write a loop turn."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.nbio_interface import AbstractStreamTransport
from pika.connection import ConnectionParameters

from claimbus.broker import frames

OnConfirm = Callable[[int, bool, bool], None]
"""Called with a publish's delivery tag, whether all before it are meant too, and whether it is an ack."""

OnContent = Callable[[bytes, bytes, bytes], None]
"""Called with the payloads of a ``basic.deliver``, of its content header, and with its body."""

_RECEIVE_BYTES: Final = 65536
"""How much is read at a time. pika's own 4 KiB are a dozen deliveries."""


class Transport(AsyncioConnection):  # type: ignore[misc] # pika ships no types
    """An `AsyncioConnection` whose confirms and deliveries go straight to their channels' callbacks.

    Everything that is written in one turn of the loop, by pika or by us, leaves in one write, in order.
    Callbacks must not raise: pika would give the connection up.
    """

    _frame_buffer: bytes

    def __init__(
        self,
        parameters: ConnectionParameters,
        *,
        on_open: Callable[["Transport"], None],
        on_open_error: Callable[["Transport", BaseException], None],
        on_close: Callable[["Transport", BaseException], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._unwritten: list[bytes] = []
        self._confirms: dict[int, OnConfirm] = {}
        self._contents: dict[int, _Content] = {}
        super().__init__(
            parameters,
            on_open_callback=on_open,
            on_open_error_callback=on_open_error,
            on_close_callback=on_close,
            custom_ioloop=self._loop,
        )

    @property
    def channels(self) -> int:
        """How many channels are open, or being opened or closed."""
        return len(self._channels)

    def on_confirm(self, channel: int, callback: OnConfirm) -> None:
        """Take the acks and nacks of this channel past pika."""
        self._confirms[channel] = callback

    def on_content(self, channel: int, callback: OnContent) -> None:
        """Take the deliveries of this channel past pika."""
        self._contents[channel] = _Content(callback)

    def forget(self, channel: int) -> None:
        """Let a closed channel's number be used by another."""
        self._confirms.pop(channel, None)
        self._contents.pop(channel, None)

    def write(self, data: bytes) -> None:
        """Write whole frames at the end of this turn of the loop."""
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(data)

    def abandon(self, reason: Exception) -> None:
        """Drop the connection without a farewell; ``on_close`` gets the reason."""
        self._terminate_stream(reason)

    def _proto_connection_made(self, transport: AbstractStreamTransport) -> None:
        transport._MAX_RECV_BYTES = _RECEIVE_BYTES  # noqa: SLF001 - pika has no setting for it
        super()._proto_connection_made(transport)

    def _flush(self) -> None:
        data = b"".join(self._unwritten)
        self._unwritten.clear()
        if data and self._transport is not None:
            self._adapter_emit_data(data)

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        self.write(b"".join(marshaled_frames))

    def _on_data_available(self, data_in: bytes) -> None:
        if not self._opened:
            super()._on_data_available(data_in)
            return
        data = self._frame_buffer + data_in if self._frame_buffer else data_in
        self._frame_buffer = b""
        start, end = 0, len(data)
        while end - start >= frames.OVERHEAD:
            kind, channel, size = frames.FRAME.unpack_from(data, start)
            after = start + frames.OVERHEAD + size
            if after > end:
                break
            if self._take(kind, channel, data[start + frames.FRAME.size : after - 1]):
                self.bytes_received += after - start
            else:
                super()._on_data_available(data[start:after])
            start = after
        self._frame_buffer = data[start:]

    def _take(self, kind: int, channel: int, payload: bytes) -> bool:
        """Handle a frame here if it is of the hot path, and tell whether it was."""
        content = self._contents.get(channel)
        if content is not None:
            return content.take(kind, payload)
        confirm = self._confirms.get(channel)
        if confirm is not None and kind == frames.METHOD and len(payload) == frames.SETTLED.size:
            method, tag, bits = frames.SETTLED.unpack(payload)
            if method in (frames.ACK, frames.NACK):
                confirm(tag, bits & 1 != 0, method == frames.ACK)
                return True
        return False


class _Content:
    """Puts the deliveries of one channel together: a method, a header, and the body in parts."""

    __slots__ = ("_callback", "_header", "_method", "_missing", "_parts")

    def __init__(self, callback: OnContent) -> None:
        self._callback = callback
        self._method = b""
        self._header = b""
        self._missing = 0
        self._parts: list[bytes] = []

    def take(self, kind: int, payload: bytes) -> bool:
        if kind == frames.BODY:
            self._missing -= len(payload)
            if self._missing == 0 and not self._parts:
                self._callback(self._method, self._header, payload)
                return True
            self._parts.append(payload)
        elif kind == frames.METHOD and payload.startswith(frames.DELIVER):
            self._method = payload
            return True
        elif kind == frames.HEADER:
            self._header = payload
            self._missing = int.from_bytes(payload[4:12])
        else:
            return False
        if self._missing == 0:
            body = b"".join(self._parts)
            self._parts.clear()
            self._callback(self._method, self._header, body)
        return True
