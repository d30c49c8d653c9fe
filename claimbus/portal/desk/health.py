"""How endpoints are: the last day by the hour, what waits for them, whether they are held, and why."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509

from claimbus.broker.channel import QueueCounts
from claimbus.database import activity, directory, receiver_certificates
from claimbus.database.access import Principal
from claimbus.database.endpoint import Endpoint
from claimbus.database.holds import HoldEvent
from claimbus.database.receiver_certificates import Seen
from claimbus.database.schema import moment_of
from claimbus.events.errors import UnavailableError
from claimbus.portal.desk import backlog, scope
from claimbus.portal.problems import ForbiddenError
from claimbus.portal.services import Services
from claimstore.holds import HoldState

if TYPE_CHECKING:
    from sqlalchemy import Connection

HOURS: Final = 24


@dataclass(frozen=True, slots=True)
class Hour:
    """What was delivered in an hour, and what failed; ``begins`` on the hour, UTC."""

    begins: datetime
    delivered: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How an endpoint is.

    ``hours`` are the last `HOURS`, the oldest first, the one that it is now among them. ``last_failure`` is
    of these; ``last_delivery`` may be older. ``held_since`` is None also when Redis is away
    (``hold_known`` is False then), and ``backlog`` is None when RabbitMQ is. ``certificate_ends``: the
    first end of the certificates that it was given to trust, None without any. ``receiver_certificate``: the
    one that its receiver showed when it was looked at last, None if none was seen yet.
    """

    endpoint_id: str
    hours: tuple[Hour, ...]
    last_delivery: datetime | None
    last_failure: datetime | None
    hold_known: bool
    held_since: datetime | None
    held_why: str
    next_probe: datetime | None
    backlog: int | None
    certificate_ends: datetime | None
    receiver_certificate: Seen | None

    @property
    def delivered(self) -> int:
        """How many deliveries arrived in these hours."""
        return sum(one.delivered for one in self.hours)

    @property
    def failed(self) -> int:
        """How many attempts failed in these hours."""
        return sum(one.failed for one in self.hours)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database tells of endpoints: what is found, counted, delivered last, held why, shown there."""

    endpoints: tuple[Endpoint, ...]
    counts: Mapping[str, list[activity.Counted]]
    last: Mapping[str, datetime]
    held: Mapping[str, HoldEvent]
    shown: Mapping[str, Seen]


async def of(services: Services, who: Principal, endpoint_ids: Collection[str]) -> dict[str, Health]:
    """Return each endpoint's health by its ID, a page of them at a time. Raises ForbiddenError.

    Without Redis or RabbitMQ it tells what is known without them.
    """
    begins = _begin(datetime.now(UTC))
    known = await services.database.read(lambda sql: _known(sql, who, endpoint_ids, begins[0]))
    states, counts = await asyncio.gather(_states(services, known), _counts(services, known))
    return {one.id: _health(one, known, begins, states, counts) for one in known.endpoints}


def _begin(now: datetime) -> list[datetime]:
    this = now.replace(minute=0, second=0, microsecond=0)
    return [this - timedelta(hours=ago) for ago in reversed(range(HOURS))]


def _known(sql: "Connection", who: Principal, endpoint_ids: Collection[str], since: datetime) -> _Known:
    seen = scope.seen_by(who)
    found = directory.many(sql, endpoint_ids)
    if seen is not None and (
        len(found) < len(set(endpoint_ids)) or any(one.participant_id not in seen for one in found)
    ):
        raise ForbiddenError
    ids = [one.id for one in found]
    counts: dict[str, list[activity.Counted]] = {id_: [] for id_ in ids}
    for counted in activity.by_hour(sql, ids, since):
        counts[counted.endpoint_id].append(counted)
    idle = [id_ for id_ in ids if not any(one.delivered for one in counts[id_])]
    shown = {one.endpoint_id: one for one in receiver_certificates.find(sql, endpoint_ids=ids)}
    last = activity.last_deliveries(sql, idle, since)
    return _Known(found, counts, last, activity.last_holds(sql, ids), shown)


async def _states(services: Services, known: _Known) -> Mapping[str, HoldState] | None:
    try:
        return await services.holds.state([one.id for one in known.endpoints])
    except UnavailableError:
        return None


async def _counts(services: Services, known: _Known) -> Mapping[str, QueueCounts | None]:
    try:
        return await backlog.of(services, known.endpoints)
    except UnavailableError:
        return {}


def _health(
    endpoint: Endpoint,
    known: _Known,
    begins: list[datetime],
    states: Mapping[str, HoldState] | None,
    counts: Mapping[str, QueueCounts | None],
) -> Health:
    counted = {one.hour: one for one in known.counts[endpoint.id]}
    arrived = [one.last_delivered for one in counted.values() if one.last_delivered is not None]
    failed = [one.last_failed for one in counted.values() if one.last_failed is not None]
    state = None if states is None else states[endpoint.id]
    since = None if state is None or state.since is None else moment_of(state.since)
    waiting = counts.get(endpoint.id)
    return Health(
        endpoint_id=endpoint.id,
        hours=tuple(_hour(begin, counted.get(begin)) for begin in begins),
        last_delivery=max(arrived, default=known.last.get(endpoint.id)),
        last_failure=max(failed, default=None),
        hold_known=states is not None,
        held_since=since,
        held_why=why_held(since, known.held.get(endpoint.id)),
        next_probe=None if state is None or state.next_probe is None else moment_of(state.next_probe),
        backlog=None if waiting is None else waiting.messages,
        certificate_ends=_certificate_ends(endpoint.ca_pem),
        receiver_certificate=known.shown.get(endpoint.id),
    )


def _hour(begins: datetime, counted: activity.Counted | None) -> Hour:
    return Hour(begins, 0, 0) if counted is None else Hour(begins, counted.delivered, counted.failed)


def why_held(since: datetime | None, last: HoldEvent | None) -> str:
    """Return why an endpoint is held since a moment, from the newest event of its history."""
    if since is None:
        return ""
    return last.reason if last is not None and last.what == "held" else "failures in a row"


def _certificate_ends(pem: str | None) -> datetime | None:
    if not pem:
        return None
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return None
    return min((one.not_valid_after_utc for one in found), default=None)
