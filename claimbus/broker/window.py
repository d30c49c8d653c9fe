"""What was sent on one channel and is not confirmed yet."""

import asyncio
from collections import deque
from itertools import takewhile

from claimbus.broker.errors import NackedError, UnroutableError
from claimbus.broker.frames import Message


class Window:
    """Unconfirmed messages by their delivery tags, which RabbitMQ counts from 1 on each channel.

    RabbitMQ returns what it cannot route before it confirms it, without a tag: a returned message is known by
    where it went and its ID. Silence is noticed by `overdue`, called now and then, so no message needs a
    timer.
    """

    __slots__ = ("_marks", "_next", "_returned", "_unconfirmed")

    def __init__(self) -> None:
        self._unconfirmed: dict[int, tuple[asyncio.Future[None], Message]] = {}
        self._next = 1
        self._returned: list[tuple[str, str, str | None]] = []
        self._marks: deque[tuple[float, int]] = deque()

    def __len__(self) -> int:
        return len(self._unconfirmed)

    def add(self, future: asyncio.Future[None], message: Message) -> None:
        """Note that this message was sent next."""
        self._unconfirmed[self._next] = (future, message)
        self._next += 1

    def settle(self, tag: int, multiple: bool, acked: bool) -> None:
        """Resolve what an ack or nack is about; ``multiple`` means all up to and with ``tag``."""
        for settled in [*takewhile(tag.__ge__, self._unconfirmed)] if multiple else (tag,):
            entry = self._unconfirmed.pop(settled, None)
            if entry is None:
                continue
            future, message = entry
            if future.done():
                continue
            if not acked:
                future.set_exception(NackedError(f"RabbitMQ refused a message for {_where(message)}"))
            elif self._returned and self._was_returned(message):
                future.set_exception(UnroutableError(f"no queue takes what goes to {_where(message)}"))
            else:
                future.set_result(None)

    def returned(self, exchange: str, key: str, message_id: str | None) -> None:
        """Note that RabbitMQ returned a message; its ack follows."""
        self._returned.append((exchange, key, message_id))

    def futures(self) -> list[asyncio.Future[None]]:
        """Return what is still to be resolved, oldest first."""
        return [future for future, _ in self._unconfirmed.values()]

    def fail(self, kind: type[Exception], why: str) -> None:
        """Resolve everything with an error of this kind."""
        for future in self.futures():
            if not future.done():
                future.set_exception(kind(why))
        self._unconfirmed.clear()

    def overdue(self, now: float, timeout: float) -> bool:
        """Tell whether something sent ``timeout`` seconds ago or earlier is unconfirmed.

        It is exact to the interval between two calls.
        """
        self._marks.append((now, self._next))
        sent_by_then = 0
        while self._marks and self._marks[0][0] <= now - timeout:
            sent_by_then = self._marks.popleft()[1]
        return next(iter(self._unconfirmed), sent_by_then) < sent_by_then

    def _was_returned(self, message: Message) -> bool:
        identity = (message.exchange, message.key, message.message_id)
        if identity not in self._returned:
            return False
        self._returned.remove(identity)
        return True


def _where(message: Message) -> str:
    return f"{message.exchange}, routing key {message.key!r}"
