"""Where participants receive: what their UAAs keep. Every change is bound and announced at once."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Final

import structlog

from claimbus.database import directory, endpoints
from claimbus.database.access import Principal
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint, Kind, Settings, State
from claimbus.database.endpoints import SECRET_OVERLAP
from claimbus.database.page import Page
from claimbus.events.errors import ClaimbusError, InvalidInputError
from claimbus.events.notices import endpoint_event
from claimbus.events.ticket import Ticket
from claimbus.portal.desk import patience, scope
from claimbus.portal.services import Services
from claimstore.quarantined import Quarantined
from consumers.provision import Provision
from consumers.verification import Verification
from consumers.verification import verify as ask

if TYPE_CHECKING:
    from sqlalchemy import Connection

Change = Callable[["Connection", str, Act], Endpoint]

_log: Final = structlog.get_logger("claimbus.portal.desk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An endpoint as it is now; its new ``secret``, shown this once; how its receiver answered, if asked.

    ``late`` says why the change is not in RabbitMQ yet; workers see to that by themselves.
    """

    endpoint: Endpoint
    secret: str | None = field(default=None, repr=False)
    verification: Verification | None = None
    late: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """An endpoint to be added; ``settings`` holds its name and, for a webhook, its URL."""

    participant_id: str
    kind: Kind
    settings: Settings
    subscriptions: Collection[str] = ()


async def find(
    services: Services,
    who: Principal,
    *,
    participant_id: str | None = None,
    state: State | None = None,
    text: str = "",
) -> tuple[Endpoint, ...]:
    """Return those that somebody may see, by participant and name; ``text`` is in the name, URL or ID."""
    seen = scope.narrowed(who, participant_id)
    only = next(iter(seen)) if seen is not None and len(seen) == 1 else None
    found = await services.database.read(lambda sql: endpoints.find(sql, participant_id=only, state=state))
    wanted = text.strip().lower()
    return tuple(
        one
        for one in found
        if (seen is None or one.participant_id in seen)
        and (not wanted or wanted in f"{one.id} {one.name} {one.url} {one.participant_id}".lower())
    )


async def page(
    services: Services,
    who: Principal,
    *,
    participant_id: str | None = None,
    state: State | None = None,
    kind: Kind | None = None,
    text: str = "",
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Endpoint]:
    """Return them by participant and name, a page at a time."""
    seen = scope.narrowed(who, participant_id)
    return await services.database.read(
        lambda sql: directory.endpoints(
            sql,
            participant_ids=seen,
            state=state,
            kind=kind,
            text=text.strip(),
            cursor=cursor,
            limit=limit,
        )
    )


async def get(services: Services, who: Principal, endpoint_id: str) -> Endpoint:
    """Return one, a removed one too."""
    return await services.database.read(lambda sql: scope.endpoint_of(sql, who, endpoint_id))


async def add(services: Services, who: Principal, new: New, *, reason: str = "") -> Outcome:
    """Add one. A webhook's receiver is asked at once whether it wants events; until it does it is pending."""
    scope.must_be(who, *scope.KEEPING)
    scope.narrowed(who, new.participant_id)
    act, url = Act(who.name, reason), new.settings.get("url")
    if new.kind == "webhook" and url:
        await services.check_url(url)

    def adding(sql: "Connection") -> Endpoint:
        return endpoints.add(
            sql,
            new.participant_id,
            act,
            kind=new.kind,
            subscriptions=new.subscriptions,
            allow_http=services.allow_http,
            **new.settings,
        )

    added = await services.database.run(adding)
    late = await _provision(services, added)
    outcome = Outcome(endpoint=added, late=late)
    if added.state == "pending":
        outcome = await _verified(services, added, act)
    secret = added.secrets[0].value if added.kind == "webhook" else None
    return Outcome(
        endpoint=outcome.endpoint, secret=secret, verification=outcome.verification, late=outcome.late
    )


async def change(
    services: Services, who: Principal, endpoint_id: str, settings: Settings, *, reason: str = ""
) -> Outcome:
    """Change settings. Another URL is verified anew, and nothing is sent there before."""
    act, url = Act(who.name, reason), settings.get("url")
    if url:
        await _kept(services, who, endpoint_id)  # whoever may not change it makes us look up no host
        await services.check_url(url)

    def changing(sql: "Connection") -> Endpoint:
        scope.endpoint_of(sql, who, endpoint_id, keep=True)
        return endpoints.change(sql, endpoint_id, act, allow_http=services.allow_http, **settings)

    changed = await services.database.run(changing)
    late = await _provision(services, changed)
    if url and not changed.verified and changed.state == "pending":
        return await _verified(services, changed, act)
    return Outcome(endpoint=changed, late=late)


async def subscribe(
    services: Services,
    who: Principal,
    endpoint_id: str,
    *,
    add: Collection[str] = (),
    give_up: Collection[str] = (),
    reason: str = "",
) -> Outcome:
    """Subscribe it to event types, and give others up."""

    def changing(sql: "Connection", id_: str, act: Act) -> Endpoint:
        changed = endpoints.subscribe(sql, id_, add, act)
        return endpoints.unsubscribe(sql, id_, give_up, act) if give_up else changed

    return await _change(services, who, endpoint_id, changing, reason)


async def pause(services: Services, who: Principal, endpoint_id: str, *, reason: str = "") -> Outcome:
    """Deliver nothing for a while; the queue keeps everything."""
    return await _change(services, who, endpoint_id, endpoints.pause, reason)


async def resume(services: Services, who: Principal, endpoint_id: str, *, reason: str = "") -> Outcome:
    """Go on after `pause`."""
    return await _change(services, who, endpoint_id, endpoints.resume, reason)


async def disable(services: Services, who: Principal, endpoint_id: str, *, reason: str) -> Outcome:
    """Deliver nothing until somebody enables it; ``reason`` must say why."""
    return await _change(services, who, endpoint_id, endpoints.disable, reason)


async def enable(services: Services, who: Principal, endpoint_id: str, *, reason: str = "") -> Outcome:
    """Go on after `disable`."""
    return await _change(services, who, endpoint_id, endpoints.enable, reason)


async def remove(services: Services, who: Principal, endpoint_id: str, *, reason: str = "") -> Outcome:
    """Remove it: what is left in its queue becomes dead letters."""

    def removing(sql: "Connection", id_: str, act: Act) -> Endpoint:
        endpoints.remove(sql, id_, act)
        return endpoints.get(sql, id_)

    return await _change(services, who, endpoint_id, removing, reason)


async def rotate_secret(services: Services, who: Principal, endpoint_id: str, *, reason: str = "") -> Outcome:
    """Make a new secret, shown this once; the one before signs beside it for a day."""

    def rotating(sql: "Connection", id_: str, act: Act) -> Endpoint:
        return endpoints.rotate_secret(sql, id_, act, overlap=SECRET_OVERLAP)

    outcome = await _change(services, who, endpoint_id, rotating, reason)
    return Outcome(endpoint=outcome.endpoint, secret=outcome.endpoint.secrets[0].value, late=outcome.late)


async def verify(services: Services, who: Principal, endpoint_id: str, *, reason: str = "") -> Outcome:
    """Ask a webhook's receiver whether it wants events; one that agrees is active from then on."""
    endpoint = await _kept(services, who, endpoint_id)
    if endpoint.removed_at is not None or endpoint.kind != "webhook":
        raise InvalidInputError("endpoint", "has no URL to verify, or was removed")
    return await _verified(services, endpoint, Act(who.name, reason))


async def send_test(services: Services, who: Principal, endpoint_id: str) -> str:
    """Send a test event the way that every event takes; return its message ID, for finding its attempts."""
    endpoint = await _kept(services, who, endpoint_id)
    state = "removed" if endpoint.removed_at else endpoint.state
    if state != "active":
        what = "verify it first" if state == "pending" else "nothing is delivered to it"
        raise InvalidInputError("endpoint", f"is {state}: {what}")
    event = endpoint_event(
        "test",
        endpoint.id,
        participant=endpoint.participant_id,
        source=services.source("bus"),
        at=datetime.now(UTC),
    )
    patience.must_be_connected(services)
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
    async with patience.bounded(services):
        await services.publisher.publish_redelivery(ticket)
    return event.identity


async def _kept(services: Services, who: Principal, endpoint_id: str) -> Endpoint:
    """Return an endpoint that somebody may change."""
    return await services.database.read(lambda sql: scope.endpoint_of(sql, who, endpoint_id, keep=True))


async def _change(
    services: Services, who: Principal, endpoint_id: str, change_: Change, reason: str
) -> Outcome:
    act = Act(who.name, reason)

    def changing(sql: "Connection") -> Endpoint:
        scope.endpoint_of(sql, who, endpoint_id, keep=True)
        return change_(sql, endpoint_id, act)

    changed = await services.database.run(changing)
    return Outcome(endpoint=changed, late=await _provision(services, changed))


async def _verified(services: Services, endpoint: Endpoint, act: Act) -> Outcome:
    webhook = services.webhook(endpoint)
    try:
        verification = await ask(webhook, endpoint, source=services.source("bus"))
    finally:
        await webhook.aclose()
    if not verification.passed:
        return Outcome(endpoint=endpoint, verification=verification)

    def marking(sql: "Connection") -> Endpoint:
        rate = verification.allowed_rate
        return endpoints.mark_verified(sql, endpoint.id, act, url=endpoint.url, allowed_rate=rate)

    endpoint = await services.database.run(marking)
    late = await _provision(services, endpoint)
    return Outcome(endpoint=endpoint, verification=verification, late=late)


async def _provision(services: Services, endpoint: Endpoint) -> str | None:
    """Bind its queue as the database has it, and tell the workers; return why that is impossible now."""
    provision = Provision(services.database, services.consuming)
    try:
        async with patience.bounded(services):
            if endpoint.removed_at is not None:
                await provision.unbind(endpoint)
            elif endpoint.id not in await Quarantined(services.store.connection).all():
                await provision.give(endpoint.id)
            await services.publisher.announce(endpoint.id, "changed")
    except ClaimbusError as failed:
        _log.warning("saved, but not in RabbitMQ yet", endpoint=endpoint.id, reason=str(failed))
        return "it is saved, but not in RabbitMQ yet; the workers will see to that"
    return None
