"""How long somebody at the desk waits for RabbitMQ: not as long as the rooms below would."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from claimbus.broker.errors import BrokerUnavailableError
from claimbus.portal.services import Services

WITHIN: Final = 10.0
"""Seconds."""


def must_be_connected(services: Services) -> None:
    """Raise BrokerUnavailableError at once, where a lost connection would be waited for."""
    if not (services.consuming.is_open and services.publisher.connection.is_open):
        raise BrokerUnavailableError("the connection to RabbitMQ is lost at the moment")


@asynccontextmanager
async def bounded(services: Services) -> AsyncIterator[None]:
    """Do something with RabbitMQ. Raises BrokerUnavailableError when it is away or takes `WITHIN`.

    What was not confirmed by then may have been published nevertheless.
    """
    must_be_connected(services)
    try:
        async with asyncio.timeout(WITHIN):
            yield
    except TimeoutError as late:
        raise BrokerUnavailableError(f"RabbitMQ did not answer within {WITHIN:g} s") from late
