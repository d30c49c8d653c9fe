"""While a portal runs: how long certificates last, as a metric, and a notice to whom their end concerns.

A participant is told once of each certificate and threshold: of its own, of those that its receivers show,
and of an authority's, which may have issued its own. The audit remembers what was told; of two portals at
once, the event's identity lets one.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
import structlog
from prometheus_client import CollectorRegistry, Gauge

from claimbus.cli.expiry import THRESHOLDS, Dated, of_authorities, of_clients, of_settings
from claimbus.cli.settings import Settings
from claimbus.database import audit, certificates, participants, receiver_certificates
from claimbus.database.access import Grant
from claimbus.database.audit import Act, Subject
from claimbus.database.engine import Database
from claimbus.database.receiver_certificates import Seen
from claimbus.events.errors import ClaimbusError, ConfigurationError
from claimbus.events.event import ALL, MAX_AUDIENCE, Event, audience_of
from claimbus.events.notices import notice_event
from claimbus.portal.trust import Trust
from claimstore.errors import IdentityConflictError
from producers.producer import Producer

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOOK_EVERY: Final = timedelta(hours=1)

OF_LATE: Final = timedelta(days=3)
"""A receiver's certificate that was seen longer ago may have been renewed: nobody is told of it."""

NAMED: Final = 5
"""Endpoints whose names a notice gives."""

_log = structlog.get_logger("claimbus.cli.expiry")


class Concern(NamedTuple):
    """A certificate, an authority's or a client's, and the participants to be told of its end.

    Or one that a participant's receivers show: ``endpoints`` are the names of their endpoints.
    """

    certificate: Dated
    participants: frozenset[str]
    is_authority: bool
    endpoints: tuple[str, ...] = ()


class ExpiryWatch:
    """Looks at all certificates of a portal now and then."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        trust: Trust,
        producer: Producer,
        registry: CollectorRegistry,
    ) -> None:
        self._settings = settings
        self._database = database
        self._trust = trust
        self._producer = producer
        self._days_left = Gauge(
            "claimbus_certificate_days_left",
            "Days until a certificate ends: ours, an authority's; a client's or receiver's that ends soon",
            ["what"],
            registry=registry,
        )

    async def run(self) -> None:
        """Look until cancelled; what goes wrong is logged, and looked at again."""
        while True:
            try:
                await self.look()
            except ClaimbusError as failed:
                _log.warning("certificates not looked at", reason=str(failed), next="look again")
            await asyncio.sleep(LOOK_EVERY.total_seconds())

    async def look(self) -> None:
        """Look once: set the metric, tell whom it concerns. Raises what the database and publishing do."""
        now = datetime.now(UTC)
        trusted = await self._database.read(lambda sql: of_authorities(sql, now))
        clients = [one for one in of_clients(self._trust.seen()) if one.threshold(now) is not None]
        receivers = await self._database.read(lambda sql: list(_of_receivers(sql, now)))
        self._measure([*self._own(), *trusted, *clients, *(one.certificate for one in receivers)])
        concerns = await self._database.read(lambda sql: list(_concerns(sql, trusted, clients)))
        source = self._settings.source("system")
        await notices([*concerns, *receivers], self._producer, self._database, source=source, now=now)

    def _own(self) -> list[Dated]:
        try:
            return list(of_settings(self._settings))
        except ConfigurationError as unreadable:
            _log.warning("our certificates not looked at", reason=str(unreadable), next="look again")
            return []

    def _measure(self, known: Sequence[Dated]) -> None:
        self._days_left.clear()
        for one in known:
            self._days_left.labels(one.what).set_function(partial(_days_left, one))


async def notices(
    concerns: Iterable[Concern], producer: Producer, database: Database, *, source: str, now: datetime
) -> int:
    """Tell of each certificate that has come under a threshold, unless that was told; return how many."""
    told = 0
    for concern in concerns:
        threshold = concern.certificate.threshold(now)
        if threshold is not None and concern.participants:
            event = _notice(concern, threshold, source, now)
            told += await _tell(event, concern, producer, database)
    return told


async def _tell(event: Event, concern: Concern, producer: Producer, database: Database) -> bool:
    subject = Subject("certificate notice", event.id)
    before = await database.read(
        lambda sql: audit.find(sql, kind=subject.kind, object_id=subject.id, limit=1)
    )
    if before.rows:
        return False
    try:
        receipt = await producer.publish(event)
    except IdentityConflictError:  # told in other words, by a portal of another version
        return False
    said = orjson.loads(event.body)  # which contacts are told by mail: see claimbus.database.tidings
    after = {
        "certificate": concern.certificate.subject,
        "participants": sorted(concern.participants),
        "title": said["title"],
        "text": said["text"],
    }
    act = Act("portal", f"it ends on {concern.certificate.until:%Y-%m-%d}")
    await database.run(lambda sql: audit.append(sql, act, "told", subject, after=after))
    return receipt.published


def _days_left(one: Dated) -> float:
    return one.days_left(datetime.now(UTC))


def _concerns(sql: "Connection", trusted: Iterable[Dated], clients: Iterable[Dated]) -> Iterator[Concern]:
    known = {one.subject: one.grant for one in certificates.find(sql) if one.revoked_at is None}
    owners = {subject: frozenset(_participants(sql, grant)) for subject, grant in known.items()}
    everybody: frozenset[str] = frozenset().union(*owners.values())
    for one in trusted:
        yield Concern(one, everybody, is_authority=True)
    for one in clients:
        yield Concern(one, owners.get(one.subject, frozenset()), is_authority=False)


def _of_receivers(sql: "Connection", now: datetime) -> Iterator[Concern]:
    """Return what receivers showed of late and ends soon: each certificate once for a participant."""
    ends_by = now + timedelta(days=max(THRESHOLDS))

    def alike(one: Seen) -> tuple[str, str]:
        return one.participant_id, one.fingerprint

    seen = sorted(receiver_certificates.find(sql, ends_by=ends_by, seen_since=now - OF_LATE), key=alike)
    for (participant_id, fingerprint), group in groupby(seen, alike):
        first, *others = group
        certificate = Dated(
            what=f"receiver {first.endpoint_id}",
            subject=first.subject,
            fingerprint=fingerprint,
            until=first.ends_at,
            life=first.ends_at - first.begins_at,
        )
        if certificate.threshold(now) is not None:
            names = tuple(sorted(one.endpoint_name for one in (first, *others)))
            yield Concern(certificate, frozenset({participant_id}), is_authority=False, endpoints=names)


def _participants(sql: "Connection", grant: Grant) -> Iterator[str]:
    if grant.participant_id is not None:
        yield grant.participant_id
    elif grant.organisation_id is not None:
        yield from (one.id for one in participants.find(sql, organisation_id=grant.organisation_id))


def _notice(concern: Concern, threshold: int, source: str, now: datetime) -> Event:
    """Return the notice; its words are the same whenever it is made."""
    one, many = concern.certificate, len(concern.participants) > MAX_AUDIENCE
    key = one.fingerprint
    ends = f"{one.until:%Y-%m-%d %H:%M} UTC"
    if concern.is_authority:
        title = f"A certificate authority ends in {threshold} days or less"
        text = (
            f"Client certificates issued by {one.subject} are accepted until {ends}. If yours is one of "
            "them, renew it with another authority that we trust."
        )
    elif concern.endpoints:
        # Several participants' receivers may show one certificate: each of them is told.
        key = hashlib.sha256("".join((*concern.participants, key)).encode()).hexdigest()
        title = f"Your receiver's certificate ends in {threshold} days or less"
        text = (
            f"The certificate that your server shows for {_named(concern.endpoints)} ends on {ends}. "
            "Renew it before then: nothing is delivered where a certificate has ended."
        )
    else:
        title = f"Your client certificate ends in {threshold} days or less"
        text = f"The client certificate {one.subject} is accepted until {ends}. Renew it before then."
    return notice_event(
        "certificate",
        notice_id=f"certificate-{key[:32]}-{threshold}",
        title=title,
        text=text,
        effective=one.until,
        source=source,
        at=now,
        audience=ALL if many else audience_of(concern.participants),
    )


def _named(endpoints: Sequence[str]) -> str:
    """Return the endpoints' names, or the first of them."""
    named, more = ", ".join(f'"{name}"' for name in endpoints[:NAMED]), len(endpoints) - NAMED
    return f"{named} and {more} more" if more > 0 else named
