"""Whether a receiver is there: it is asked whether it wants events, and gets one to try the way."""

from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING

from claimbus.database import audit, endpoints, receiver_certificates
from claimbus.database.access import Principal
from claimbus.database.audit import Act, Subject
from claimbus.database.endpoint import Endpoint
from claimbus.events.errors import InvalidInputError
from claimbus.events.notices import endpoint_event
from claimbus.events.ticket import Ticket
from claimbus.portal.desk import patience, rates, scope
from claimbus.portal.desk.provisioning import Outcome, provision
from claimbus.portal.services import Services
from consumers.verification import verify as ask

if TYPE_CHECKING:
    from sqlalchemy import Connection


async def verify(services: Services, who: Principal, endpoint_id: str, *, reason: str = "") -> Outcome:
    """Ask a webhook's receiver whether it wants events; one that agrees is active from then on.

    Raises `rates.TooOftenError`.
    """
    endpoint = await services.database.read(lambda sql: scope.endpoint_of(sql, who, endpoint_id, keep=True))
    if endpoint.removed_at is not None or endpoint.kind != "webhook":
        raise InvalidInputError("endpoint", "has no URL to verify, or was removed")
    rates.take(services, rates.VERIFYING, who, endpoint_id)
    return await verified(services, endpoint, Act(who.name, reason))


async def verified(services: Services, endpoint: Endpoint, act: Act) -> Outcome:
    """Ask a receiver, for whoever may and does not too often."""
    webhook = services.webhook(endpoint)
    try:
        verification = await ask(webhook, endpoint, source=services.source("bus"))
    finally:
        await webhook.aclose()
    if (shown := verification.certificate) is not None:
        url, now = endpoint.url or "", datetime.now(UTC)
        await services.database.run(lambda sql: receiver_certificates.note(sql, endpoint.id, url, shown, now))
    if not verification.passed:
        return Outcome(endpoint=endpoint, verification=verification)

    def marking(sql: "Connection") -> Endpoint:
        rate = verification.allowed_rate
        return endpoints.mark_verified(sql, endpoint.id, act, url=endpoint.url, allowed_rate=rate)

    endpoint = await services.database.run(marking)
    return Outcome(endpoint=endpoint, verification=verification, late=await provision(services, endpoint))


async def send_test(services: Services, who: Principal, endpoint_id: str) -> str:
    """Send a test event the way that every event takes; return its message ID, for finding its attempts.

    Raises InvalidInputError unless the endpoint is active, and `rates.TooOftenError`.
    """
    endpoint = await services.database.read(lambda sql: scope.endpoint_of(sql, who, endpoint_id, keep=True))
    state = "removed" if endpoint.removed_at else endpoint.state
    if state != "active":
        what = "verify it first" if state == "pending" else "nothing is delivered to it"
        raise InvalidInputError("endpoint", f"is {state}: {what}")
    patience.must_be_connected(services)
    rates.take(services, rates.TESTING, who, endpoint_id)
    event = endpoint_event(
        "test",
        endpoint.id,
        participant=endpoint.participant_id,
        source=services.source("bus"),
        at=datetime.now(UTC),
    )
    checked_in = await services.store.check_in(event)
    ticket = Ticket(
        claim_id=checked_in.claim_id,
        message_id=event.identity,
        type=event.type,
        timestamp=int(time()),
        expires=checked_in.expires,
        partitionkey=event.partitionkey,
        endpoint=endpoint.id,
    )
    act, subject = Act(who.name), Subject("endpoint", endpoint.id, endpoint.organisation_id)
    told: audit.State = {"message_id": event.identity}
    await services.database.run(lambda sql: audit.append(sql, act, "test sent", subject, after=told))
    async with patience.bounded(services):
        await services.publisher.publish_redelivery(ticket)
    return event.identity
