"""What the portal's routes work with, and how a route gets at it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from fastapi import Depends
from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection, Request

from claimbus.broker.connection import Connection
from claimbus.broker.publisher import Publisher
from claimbus.database.access import Principal, Role
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.portal.identity import Identity
from claimbus.portal.ingest_intake import Intake
from claimbus.portal.problems import ForbiddenError
from claimbus.portal.redemptions import Redemptions
from claimbus.portal.stream_registry import Streams
from claimbus.portal.trust import Trust
from claimstore.handed import Handed
from claimstore.holds import Holds
from claimstore.store import ClaimStore
from consumers.webhook import Webhook
from producers.producer import Producer


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The open connections and the settings; they stay their opener's.

    ``consuming`` (for streams) and ``publisher`` are two connections: an alarm of RabbitMQ's blocks one that
    publishes. ``producer`` gives the producer of an ISO system by its name, always the same. ``stopping`` is
    set when the portal is about to stop: whoever holds a connection open then ends it. ``giving`` counts the
    bodies that are being given to each principal, by its key. ``rate``: requests a second of one principal,
    0: no limit.
    ``public_url`` is where people reach the portal, empty when that is where it listens.
    """

    database: Database
    store: ClaimStore
    handed: Handed
    holds: Holds
    consuming: Connection
    publisher: Publisher
    producer: Callable[[str], Producer]
    trust: Trust
    identity: Identity
    redemptions: Redemptions
    streams: Streams
    intake: Intake
    webhook: Callable[[Endpoint], Webhook]
    check_url: Callable[[str], Awaitable[None]]
    source: Callable[[str], str]
    environment: str
    public_url: str
    allow_http: bool
    claim_life: timedelta
    letters_kept: timedelta
    replay_rate: float | None
    rate: float
    giving: Counter[tuple[str | None, str]] = field(default_factory=Counter)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


def services(connection: HTTPConnection) -> Services:
    """Return the services of the application that a request or WebSocket came to."""
    found: Services = connection.app.state.services
    return found


# Coroutines all: FastAPI runs plain functions in threads, at 100 µs each.
async def caller(request: Request) -> Principal:
    """Return who makes a request. Raises UnauthenticatedError."""
    return await services(request).identity.of(request)


async def provided(request: Request) -> Services:
    """Return the services."""
    return services(request)


def having(*roles: Role) -> Callable[[Principal], Awaitable[Principal]]:
    """Return a dependency: who makes the request, having one of these roles. Raises ForbiddenError."""

    async def entitled(principal: Caller) -> Principal:
        if not principal.is_one_of(*roles):
            raise ForbiddenError
        return principal

    return entitled


Provided = Annotated[Services, Depends(provided)]
Caller = Annotated[Principal, Depends(caller)]
