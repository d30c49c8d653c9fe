"""Several AMQP connections where one has too few channels for all who consume."""

import asyncio
from typing import Final

from claimbus.broker.connection import Connection

CHANNELS: Final = 1000
"""Channels on a connection, unless RabbitMQ's ``channel_max`` (by default 2,047) leaves fewer."""

KEPT_FREE: Final = 16
"""Channels of a connection for what is asked now and then: counts, declarations."""


class Connections:
    """Gives connections with room for one more channel, and opens a further one when all are full.

    The first stays its opener's.
    """

    def __init__(self, first: Connection) -> None:
        self._first = first
        self._further: list[Connection] = []
        self._opening = asyncio.Lock()

    @property
    def first(self) -> Connection:
        """The connection that all began with."""
        return self._first

    async def roomy(self) -> Connection:
        """Return a connection with room. Raises UnavailableError when one has to be opened and cannot be."""
        async with self._opening:  # or each of many who come at once would open one
            for connection in (self._first, *self._further):
                if connection.channels < min(CHANNELS, connection.channel_max - KEPT_FREE):
                    return connection
            further = await self._first.another(f"{self._first.name} ({len(self._further) + 2})")
            self._further.append(further)
            return further

    async def aclose(self) -> None:
        """Close all but the first."""
        further, self._further = self._further, []
        for connection in further:
            await connection.aclose()
