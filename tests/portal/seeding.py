"""What visitors of the pages find: endpoints, attempts, dead letters; and who they are."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from typing import Any

from claimbus.database import attempts, endpoints, outcomes
from claimbus.database.access import Role
from claimbus.database.attempts import Attempt
from claimbus.database.endpoint import Endpoint
from tests.deadletters.stage import Cemetery
from tests.portal.portals import ACT, Got, Portal
from tests.portal.visitors import Visitor, visiting

HTML = "<script>alert('x')</script><img src=x onerror=alert(1)>"


@asynccontextmanager
async def logged_in(portal: Portal, *roles: Role, **whose: str) -> AsyncIterator[Visitor]:
    """Somebody who has logged in: an operator, or one of a ``participant`` or an ``organisation``."""
    async with visiting(portal) as visitor:
        got = await visitor.log_in(portal.token(*roles or (Role.OPERATOR,), **whose))  # type: ignore[arg-type]
        assert got.status in (200, 403, 404)
        yield visitor


@asynccontextmanager
async def uaa(portal: Portal, organisation: str = "PGAE Inc") -> AsyncIterator[Visitor]:
    """A UAA of an organisation that has a participant already."""
    async with logged_in(portal, Role.UAA, organisation=organisation) as visitor:
        yield visitor


def endpoint(portal: Portal, participant: str = "PGAE", name: str = "one", **settings: Any) -> Endpoint:  # noqa: ANN401
    """Add an endpoint: a stream, unless it is given a URL, which nobody verifies."""
    with portal.services.database.transaction() as sql:
        return endpoints.add(
            sql,
            participant,
            ACT,
            kind="webhook" if "url" in settings else "stream",
            name=name,
            subscriptions=settings.pop("subscriptions", ("#",)),
            verified=True,
            **settings,
        )


def attempt(at: Endpoint, **other: object) -> Attempt:
    """An attempt just now, which was delivered."""
    usual = Attempt(
        started_ms=int(time.time() * 1000),
        id=attempts.new_id(),
        endpoint_id=at.id,
        message_id="evt_1",
        verdict="delivered",
        participant_id=at.participant_id,
        type="oms.resource-outage.created",
        claim_id="claim",
        attempt=1,
        status=204,
        duration_ms=12,
        next="ack",
        detail=None,
        answer_head=None,
        replay=None,
        source="urn:tests",
        event_id="ä 1",
        partitionkey="15120034",
        sequence=3,
    )
    return usual._replace(**other)  # type: ignore[arg-type]


def record(portal: Portal, *some: Attempt) -> None:
    """Record attempts as workers do."""
    with portal.services.database.transaction() as sql:
        outcomes.record(sql, some)


def cemetery(portal: Portal) -> Cemetery:
    """Where to bury dead letters."""
    there = portal.services
    return Cemetery(there.database, there.store, there.holds)


def text(got: Got) -> str:
    """What a page says, its entities undone."""
    return unescape(got.body.decode())
