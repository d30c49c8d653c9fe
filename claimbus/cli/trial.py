"""``claimbus endpoints verify`` and ``test``: whether a receiver takes what we send."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from claimbus.cli.database import open_database
from claimbus.cli.endpoint_options import Id
from claimbus.cli.options import Actor, AsJson, Reason, duration
from claimbus.cli.output import details, say
from claimbus.cli.settings import Settings, load
from claimbus.cli.wiring import COMMAND_WITHIN, Wiring, webhooks
from claimbus.database import attempts, endpoints
from claimbus.database.attempts import Attempt
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import Event
from claimbus.events.notices import endpoint_event
from claimbus.events.ticket import Ticket
from consumers.answer import Answer, Failure
from consumers.verdict import Verdict, judge

LOOK_EVERY: Final = 0.2
"""Seconds between looks for the attempt that a test brings."""

FAILURES: Final[dict[Failure, str]] = {
    "refused-address": "the host is in a network that webhooks may not reach (CLAIMBUS_WEBHOOK_NETWORKS)",
    "dns": "the host has no address; is its name spelled right?",
    "connect": "nobody accepts the connection; is the receiver running, and does its firewall let us in?",
    "tls": "there was no TLS handshake; is its certificate valid, for this name, with its whole chain?",
    "configuration": "our own certificates cannot be used (CLAIMBUS_WEBHOOK_*, or the endpoint's --ca-file)",
    "busy": "no connection became free in time",
    "timeout": "it accepted the connection, but did not answer in time",
    "reset": "it broke the connection off while we sent",
    "protocol": "what answers there does not speak HTTP",
    "closed": "we were stopped",
}
"""What each failure means for whoever keeps the receiver."""


def verify(id_: Id, *, actor: Actor, reason: Reason = "", as_json: AsJson = False) -> None:
    """Post a signed test event from here, now, and say how the receiver answered.

    An endpoint that answers with a 2xx status is marked as verified.
    """
    settings = load()
    with open_database(settings) as database:
        with database.snapshot() as sql:
            endpoint = _webhook(endpoints.get(sql, id_))
        answer = asyncio.run(_post(settings, endpoint))
        verdict = judge(answer).verdict
        if verdict is Verdict.DELIVERED:
            with database.transaction() as sql:
                endpoints.mark_verified(sql, id_, Act(actor, reason))
    host = urlsplit(endpoint.url or "").netloc
    facts = {"endpoint_id": id_, "host": host, "verified": verdict is Verdict.DELIVERED}
    facts |= {"status": answer.status, "failure": answer.failure, "duration_ms": answer.duration_ms}
    details(facts | {"meaning": _meaning(answer), "detail": answer.detail}, as_json=as_json)
    if verdict is not Verdict.DELIVERED:
        raise typer.Exit(1)


def send_test(
    id_: Id,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Until a worker has tried to deliver it.")] = False,
    within: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="DURATION", help="How long to wait.", show_default="30s"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send a test event the way that every event takes: through Redis, RabbitMQ and a worker."""
    settings = load()
    longest = timedelta(seconds=30) if within is None else within
    message_id, attempt = asyncio.run(_send(settings, id_, longest if wait else timedelta(0)))
    facts: dict[str, Any] = {"endpoint_id": id_, "message_id": message_id}
    if attempt is not None:
        facts |= {
            name: getattr(attempt, name) for name in ("verdict", "status", "duration_ms", "next", "detail")
        }
    details(facts, as_json=as_json)
    if wait and attempt is None:
        say(
            f"claimbus: no worker has tried within {longest.total_seconds():g} s; is 'claimbus work' running?"
        )
    if wait and (attempt is None or attempt.verdict != Verdict.DELIVERED):
        raise typer.Exit(1)


async def _post(settings: Settings, endpoint: Endpoint) -> Answer:
    event = _event(settings, endpoint)
    webhook = webhooks(settings)(endpoint)
    try:
        return await webhook.post(event, message_id=event.identity, attempt=1)
    finally:
        await webhook.aclose()


async def _send(settings: Settings, endpoint_id: str, within: timedelta) -> tuple[str, Attempt | None]:
    async with Wiring(settings, within=COMMAND_WITHIN) as wiring:
        database, store = wiring.database(), await wiring.store()
        publisher = await wiring.publisher("test: publishes")
        endpoint = await database.read(lambda sql: endpoints.get(sql, endpoint_id))
        state = "removed" if endpoint.removed_at else endpoint.state
        if state != "active":
            raise InvalidInputError("endpoint", f"{endpoint_id} is {state}: nothing is delivered to it")
        event = _event(settings, endpoint)
        checked_in = await store.check_in(event)
        ticket = Ticket(
            claim_id=checked_in.claim_id,
            message_id=event.identity,
            type=event.type,
            timestamp=int(time.time()),
            expires=checked_in.expires,
            partitionkey=event.partitionkey,
            endpoint=endpoint_id,
        )
        await publisher.publish_redelivery(ticket)
        return event.identity, await _attempt(database, ticket, within)


async def _attempt(database: Database, ticket: Ticket, within: timedelta) -> Attempt | None:
    """Return the first attempt to deliver a ticket; None when there is none within this time."""
    wanted = attempts.Filter(message_id=ticket.message_id)
    deadline = time.monotonic() + within.total_seconds()
    while time.monotonic() < deadline:
        page = await database.read(lambda sql: attempts.find(sql, wanted, limit=1))
        if page.rows:
            return page.rows[0]
        await asyncio.sleep(LOOK_EVERY)
    return None


def _event(settings: Settings, endpoint: Endpoint) -> Event:
    return endpoint_event(
        "test",
        endpoint.id,
        participant=endpoint.participant_id,
        source=settings.source("bus"),
        at=datetime.now(UTC),
    )


def _webhook(endpoint: Endpoint) -> Endpoint:
    if endpoint.removed_at is not None or endpoint.kind != "webhook":
        raise InvalidInputError("endpoint", f"{endpoint.id} has no URL to post to, or was removed")
    return endpoint


def _meaning(answer: Answer) -> str:
    """Say in plain words how a receiver answered."""
    if answer.failure is not None:
        return FAILURES[answer.failure]
    match answer.status or 0:
        case status if 200 <= status < 300:
            return "it takes events"
        case status if 300 <= status < 400:
            return "it points elsewhere; redirects are never followed: give the URL that it points to"
        case 401 | 403:
            return "it does not accept us; does it check the signature with this endpoint's secret?"
        case 404 | 405:
            return "there is no webhook at this path; is the URL right?"
        case 410:
            return "it says that it is gone; in earnest this would disable the endpoint"
        case status if status >= 500 or status in (408, 425, 429):
            return "it cannot take events at the moment; in earnest they would be tried again"
        case _:
            return "it refuses the event; after three attempts such an event becomes a dead letter"
