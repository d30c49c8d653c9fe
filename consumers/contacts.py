"""Telling the contacts of organisations, by mail, what happened to their endpoints and certificates.

Any number of processes run this; by a lease one of them tells. What happened within a minute is one mail.
How far all were told is written down after the mails are sent: nobody is left out, and whoever takes over
from a process that died tells some people twice.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from claimbus.database import participants, tidings
from claimbus.database.engine import Database
from claimbus.database.tidings import Tiding
from claimbus.events.errors import UnavailableError
from claimbus.mail.mail import Mail, Refusal
from claimbus.mail.post import Post, Send
from consumers.wording import Wording

if TYPE_CHECKING:
    from sqlalchemy import Connection

READER: Final = "contacts"

LOOK_EVERY: Final = timedelta(seconds=5)
GATHER: Final = timedelta(minutes=1)
"""How long what happens is gathered into one mail."""

LONGEST_PAUSE: Final = timedelta(minutes=5)
"""Between two tries while the server is away; pauses begin with that between two looks, and double."""

PATIENCE: Final = timedelta(minutes=15)
"""How long an address is tried that is refused for now: a grey list lets mail through by then."""

FIRST_DELAY: Final = timedelta(seconds=30)
"""After which such an address is tried for the second time; delays double."""

LEASE_S: Final = 120.0
"""Longer than a mail takes that is sent at all."""

FAR: Final = 1000
"""Rows that concern nobody, after which the place is moved past them."""

_log = structlog.get_logger("claimbus.consumers.contacts")


class Telling(NamedTuple):
    """What one contact of an organisation is to be told."""

    contact: str
    organisation_id: str
    tidings: tuple[Tiding, ...]

    @property
    def keys(self) -> Iterator[tuple[str, str, str]]:
        """What is told by it to whom."""
        return ((self.contact, self.organisation_id, one.key) for one in self.tidings)


class Delay(NamedTuple):
    """Since when an address is refused for now, and when it is tried again."""

    since: datetime
    until: datetime


class Contacts:
    """Sends the mails."""

    def __init__(
        self,
        database: Database,
        post: Post,
        wording: Wording,
        *,
        name: str,
        registry: CollectorRegistry,
        look_every: timedelta = LOOK_EVERY,
        gather: timedelta = GATHER,
    ) -> None:
        """Send nothing yet. ``name`` is this process's, which no other has."""
        self._database = database
        self._post = post
        self._wording = wording
        self._name = name
        self._look_every = look_every
        self._gather = gather
        self._told: set[tuple[str, str, str]] = set()
        self._delays: dict[str, Delay] = {}
        self._since: datetime | None = None
        self._mails = Counter("claimbus_mails", "Mails to contacts", ["outcome"], registry=registry)
        waiting = Gauge("claimbus_mail_waiting_seconds", "Age of the oldest news not told", registry=registry)
        waiting.set_function(self._waiting)

    async def run(self) -> None:
        """Tell what happens from now on, or since it was told last, until cancelled."""
        pause = self._look_every
        try:
            while True:
                try:
                    await self.look()
                    pause = self._look_every
                except Exception as failed:  # noqa: BLE001 - whatever it is, the next look must come
                    pause = min(2 * pause, LONGEST_PAUSE)
                    self._mails.labels("failed").inc()
                    _log.warning(
                        "contacts not told",
                        reason=str(failed),
                        next=f"try again in {pause.total_seconds():.0f} s",
                        exc_info=not isinstance(failed, UnavailableError),
                    )
                await asyncio.sleep(pause.total_seconds())
        finally:
            with suppress(UnavailableError):
                await self._database.run(lambda sql: tidings.release(sql, READER, self._name))

    async def look(self) -> None:
        """Tell what is due. Raises UnavailableError when the database or the mail server is away."""
        now = datetime.now(UTC)
        waiting = await self._database.read(lambda sql: tidings.waiting(sql, READER))
        if waiting is None:
            await self._database.run(lambda sql: tidings.begin(sql, READER))
            return
        self._since = waiting.since
        # A clock that is behind the one of who wrote the row must not wait for it.
        due = waiting.since is not None and abs(now - waiting.since) >= self._gather
        if not due and waiting.rows < FAR:
            return
        taken = await self._database.run(
            lambda sql: tidings.take(sql, READER, self._name, now, lease_s=LEASE_S)
        )
        if taken is None:
            return
        tellings = await self._database.read(lambda sql: list(_tellings(sql, taken.tidings)))
        await self._tell(self._due(tellings, now))
        if self._told.issuperset(key for telling in tellings for key in telling.keys):
            await self._database.run(lambda sql: tidings.done(sql, READER, self._name, taken.place))
            self._told.clear()
            self._delays.clear()

    def _due(self, tellings: Iterable[Telling], now: datetime) -> list[Telling]:
        """Return what was not told yet to those that can be tried now."""
        return [
            telling._replace(tidings=untold)
            for telling in tellings
            if telling.contact not in self._delays or self._delays[telling.contact].until <= now
            if (untold := tuple(self._untold(telling)))
        ]

    def _untold(self, telling: Telling) -> Iterator[Tiding]:
        for key, one in zip(telling.keys, telling.tidings, strict=True):
            if key not in self._told:
                yield one

    async def _tell(self, tellings: list[Telling]) -> None:
        if not tellings:
            return
        async with self._post.session() as send:
            for telling in tellings:
                if not await self._database.run(self._renew):
                    return
                await self._send(telling, send)

    def _renew(self, sql: "Connection") -> bool:
        return tidings.renew(sql, READER, self._name, datetime.now(UTC), lease_s=LEASE_S)

    async def _send(self, telling: Telling, send: Send) -> None:
        mail = Mail(
            to=telling.contact,
            subject=self._wording.subject(telling.tidings),
            text=self._wording.text(telling.organisation_id, telling.tidings),
        )
        refusal = await send(mail)
        log = _log.bind(contact=telling.contact, organisation=telling.organisation_id, mail=mail.id)
        if refusal is None:
            self._mails.labels("sent").inc()
            log.info("contact told", news=len(telling.tidings))
        elif not self._is_over(telling.contact, refusal):
            self._mails.labels("put off").inc()
            log.info("contact not told yet", reason=refusal.reason, next="try again")
            return
        else:
            self._mails.labels("refused").inc()
            log.warning("contact not told", reason=refusal.reason, next="nothing: it is for the next news")
        self._delays.pop(telling.contact, None)
        self._told.update(telling.keys)

    def _is_over(self, contact: str, refusal: Refusal) -> bool:
        """Tell whether an address that was refused is given up; else put it off."""
        now = datetime.now(UTC)
        since = self._delays[contact].since if contact in self._delays else now
        self._delays[contact] = Delay(since, now + max(FIRST_DELAY, now - since))
        return refusal.for_good or now - since > PATIENCE

    def _waiting(self) -> float:
        return 0.0 if self._since is None else (datetime.now(UTC) - self._since).total_seconds()


def _tellings(sql: "Connection", found: Iterable[Tiding]) -> Iterator[Telling]:
    in_order = sorted(found, key=lambda one: one.organisation_id)
    for organisation_id, own in groupby(in_order, key=lambda one: one.organisation_id):
        told = tuple(own)
        for contact in participants.contacts_of(sql, organisation_id):
            yield Telling(contact, organisation_id, told)
