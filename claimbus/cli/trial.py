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
from claimbus.cli.provisioning import provision
from claimbus.cli.settings import Settings, load
from claimbus.cli.wiring import COMMAND_WITHIN, Wiring
from claimbus.cli.wiring.webhook import address_guard, webhooks
from claimbus.database import attempts, endpoints, receiver_certificates
from claimbus.database.attempts import Attempt
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import Event
from claimbus.events.notices import endpoint_event
from claimbus.events.ticket import Ticket
from consumers.verdict import Verdict
from consumers.verification import Verification, check_target
from consumers.verification import verify as ask

LOOK_EVERY: Final = 0.2
"""Seconds between looks for the attempt that a test brings."""


def verify(id_: Id, *, actor: Actor, reason: Reason = "", as_json: AsJson = False) -> None:
    """Ask the receiver whether it wants our events, now and from here, and say how it answered.

    First by OPTIONS (CloudEvents' WebHook-Request-Origin); a receiver that does not know that is posted a
    signed test event, and agrees by a 2xx status. A pending endpoint becomes active.
    """
    with open_database(load()) as database, database.snapshot() as sql:
        endpoint = _webhook(endpoints.get(sql, id_))
    _, verification = verified(endpoint, Act(actor, reason))
    facts = {"endpoint_id": id_, "host": urlsplit(endpoint.url or "").netloc}
    details(facts | told(verification), as_json=as_json)
    if not verification.passed:
        raise typer.Exit(1)


def verified(endpoint: Endpoint, act: Act) -> tuple[Endpoint, Verification]:
    """Verify a webhook. One that has passed is noted, and workers deliver to it from then on."""
    settings = load()
    verification = asyncio.run(_verify(settings, endpoint))
    if verification.certificate is not None:
        url, now = endpoint.url or "", datetime.now(UTC)
        with open_database(settings) as database, database.transaction() as sql:
            receiver_certificates.note(sql, endpoint.id, url, verification.certificate, now)
    if verification.passed:
        rate = verification.allowed_rate
        with open_database(settings) as database, database.transaction() as sql:
            endpoint = endpoints.mark_verified(sql, endpoint.id, act, url=endpoint.url, allowed_rate=rate)
        provision([endpoint.id])
    return endpoint, verification


def told(verification: Verification) -> dict[str, Any]:
    """Return what a verification found, to be shown."""
    answer = verification.answer
    return {
        "verified": verification.passed,
        "way": verification.way,
        "status": answer.status,
        "failure": answer.failure,
        "duration_ms": answer.duration_ms,
        "allowed_rate": verification.allowed_rate,
        "meaning": verification.meaning,
        "detail": answer.detail,
    }


def check_url(settings: Settings, url: str) -> None:
    """Raise InvalidInputError for a URL that no webhook may post to, by its host's addresses too."""
    within = settings.webhook_connect_timeout.total_seconds()
    asyncio.run(
        check_target(url, address_guard(settings), allow_http=settings.webhook_allow_http, within=within)
    )


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


async def _verify(settings: Settings, endpoint: Endpoint) -> Verification:
    webhook = webhooks(settings)(endpoint)
    try:
        return await ask(webhook, endpoint, source=settings.source("bus"))
    finally:
        await webhook.aclose()


async def _send(settings: Settings, endpoint_id: str, within: timedelta) -> tuple[str, Attempt | None]:
    async with Wiring(settings, within=COMMAND_WITHIN) as wiring:
        database, store = wiring.database(), await wiring.store()
        publisher = await wiring.publisher("test: publishes")
        endpoint = await database.read(lambda sql: endpoints.get(sql, endpoint_id))
        state = "removed" if endpoint.removed_at else endpoint.state
        if state != "active":
            what = "verify it first" if state == "pending" else "nothing is delivered to it"
            raise InvalidInputError("endpoint", f"{endpoint_id} is {state}: {what}")
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
