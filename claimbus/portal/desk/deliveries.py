"""What was delivered, and how each attempt ended; one delivery again."""

import csv
import io
import time
from base64 import b32encode
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from secrets import token_bytes
from typing import TYPE_CHECKING, Final

from claimbus.database import attempts, audit, endpoints, letters, participants
from claimbus.database.access import Principal
from claimbus.database.attempts import Attempt, Filter, Found
from claimbus.database.audit import Act, Subject
from claimbus.database.endpoint import Endpoint
from claimbus.database.errors import NotFoundError
from claimbus.database.letters import DeadLetter
from claimbus.database.participants import Participant
from claimbus.database.schema import moment_of
from claimbus.deadletters.bodies import Bodies
from claimbus.deadletters.missed import Missed
from claimbus.deadletters.redelivery import Redelivery
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import format_time
from claimbus.events.ticket import Ticket
from claimbus.portal.desk import patience, rates, scope
from claimbus.portal.problems import ForbiddenError
from claimbus.portal.services import Services

MOST_ATTEMPTS: Final = 200
ACTS: Final = 200
"""So many of what was done to an endpoint last are looked through for what was sent once more."""
SENT_AGAIN: Final = "sent again"
CSV_PAGE: Final = 1000
COLUMNS: Final = (
    "started_at",
    "participant_id",
    "endpoint_id",
    "type",
    "partitionkey",
    "sequence",
    "message_id",
    "attempt",
    "verdict",
    "status",
    "duration_ms",
    "next",
    "detail",
    "replay",
)

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which attempts: those that pass every filter given; ``until`` is exclusive."""

    participant_id: str | None = None
    endpoint_id: str | None = None
    type: str | None = None
    partitionkey: str | None = None
    verdicts: Collection[str] | None = None
    message_id: str | None = None
    replay: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resent:
    """That a delivery was sent once more, as ``replay``.

    ``last`` is the newest attempt at that, None before the first; ``given_up``: it is a dead letter by now.
    """

    replay: str
    at: datetime
    last: Attempt | None
    given_up: bool

    @property
    def waits(self) -> bool:
        """Tell whether nobody knows yet what becomes of it."""
        return self.last is None and not self.given_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An event at an endpoint: its attempts, the oldest first, and its newest dead letter, if it has one.

    ``resent``, the newest first: when it was sent once more, as far as the endpoint's last `ACTS` tell.
    """

    endpoint: Endpoint
    message_id: str
    attempts: tuple[Attempt, ...]
    letter: DeadLetter | None
    resent: tuple[Resent, ...]

    @property
    def last(self) -> Attempt:
        """The newest attempt."""
        return self.attempts[-1]


async def find(
    services: Services, who: Principal, wanted: Wanted, *, cursor: str | None = None, limit: int = 50
) -> Found:
    """Return attempts, the newest first; of what no index leads to, maybe only some, and a cursor."""

    def looking(sql: "Connection") -> Found:
        return attempts.find(sql, _filter(sql, who, wanted), cursor=cursor, limit=limit)

    return await services.database.read(looking)


def rows_as_csv(services: Services, who: Principal, wanted: Wanted) -> AsyncIterator[str]:
    """Return attempts as lines of CSV, a header first, the newest first. Raises `rates.TooOftenError`."""
    rates.take(services, rates.EXPORTING, who)
    return _as_csv(services, who, wanted)


async def _as_csv(services: Services, who: Principal, wanted: Wanted) -> AsyncIterator[str]:
    yield _line(COLUMNS)
    cursor: str | None = None
    while True:
        page = await find(services, who, wanted, cursor=cursor, limit=CSV_PAGE)
        if page.rows:
            yield "".join(_line(_cells(one)) for one in page.rows)
        cursor = page.cursor
        if cursor is None:
            return


async def get(services: Services, who: Principal, endpoint_id: str, message_id: str) -> Delivery:
    """Return one delivery. Raises NotFoundError when there was no attempt at it."""

    def looking(sql: "Connection") -> Delivery:
        endpoint = scope.endpoint_of(sql, who, endpoint_id)
        wanted = Filter(endpoint_ids=[endpoint_id], message_id=message_id)
        page = attempts.find(sql, wanted, limit=MOST_ATTEMPTS)
        if not page.rows:
            raise NotFoundError("message_id", "was not tried at this endpoint, or too long ago")
        of_event = letters.Filter(message_id=message_id, endpoint_id=endpoint_id, states=None)
        letter = next(iter(letters.find(sql, of_event, limit=1).rows), None)
        tries = tuple(reversed(page.rows))
        return Delivery(
            endpoint=endpoint,
            message_id=message_id,
            attempts=tries,
            letter=letter,
            resent=_resent(sql, endpoint, tries, letter),
        )

    return await services.database.read(looking)


async def resend(
    services: Services, who: Principal, endpoint_id: str, message_id: str, *, reason: str = ""
) -> str:
    """Deliver an event to an endpoint once more, whatever became of it; return what its tickets carry.

    What the endpoint is subscribed to, and what is open to its participant, counts as it is now. Raises
    InvalidInputError when that excludes it, when its body is gone, and for a letter, which is replayed, and
    `rates.TooOftenError`.
    """
    delivery = await get(services, who, endpoint_id, message_id)
    endpoint, last = delivery.endpoint, delivery.last

    def keeping(sql: "Connection") -> Participant:
        scope.endpoint_of(sql, who, endpoint_id, keep=True)
        return participants.get(sql, endpoint.participant_id)

    participant = await services.database.read(keeping)
    if endpoint.removed_at is not None:
        raise InvalidInputError("endpoint", "was removed; there is nowhere to deliver to")
    if delivery.letter is not None and delivery.letter.state == "dead":
        raise InvalidInputError("message_id", f"is a dead letter: replay {delivery.letter.id}")
    missed = Missed(services.database, services.store, endpoint, participant, pattern=None, everything=True)
    due = await missed.of([_ticket(last)])
    if not due:
        raise InvalidInputError("message_id", _why_not(missed, endpoint))
    redelivery = Redelivery(
        services.store,
        Bodies(services.store, services.database),
        services.publisher,
        endpoint,
        name="rc_" + b32encode(token_bytes(10)).decode().lower(),
        rate=None,
        claim_life=services.claim_life,
    )
    patience.must_be_connected(services)
    rates.take(services, rates.RESENDING, who, endpoint_id)
    subject = Subject("endpoint", endpoint.id, endpoint.organisation_id)
    told: audit.State = {"message_id": message_id, "replay": redelivery.name}
    act = Act(who.name, reason)
    await services.database.run(lambda sql: audit.append(sql, act, SENT_AGAIN, subject, after=told))
    async with patience.bounded(services):
        await redelivery.send(due)
    if not redelivery.sent:
        raise InvalidInputError("message_id", "cannot be sent: its body is gone")
    return redelivery.name


def _resent(
    sql: "Connection", endpoint: Endpoint, tries: Sequence[Attempt], letter: DeadLetter | None
) -> tuple[Resent, ...]:
    """Return when the event of these attempts was sent once more, the newest first."""
    newest = {one.replay: one for one in tries}
    died = letter.replay if letter else None
    found = []
    for act in audit.find(sql, kind="endpoint", object_id=endpoint.id, limit=ACTS).rows:
        told = act.after or {}
        if act.action == SENT_AGAIN and told["message_id"] == tries[0].message_id:
            name = told["replay"]
            found.append(Resent(replay=name, at=act.at, last=newest.get(name), given_up=name == died))
    return tuple(found)


def _filter(sql: "Connection", who: Principal, wanted: Wanted) -> Filter:
    seen = scope.narrowed(who, wanted.participant_id)
    if wanted.endpoint_id is not None:
        of_endpoint = scope.endpoint_of(sql, who, wanted.endpoint_id)
        if wanted.participant_id is not None and of_endpoint.participant_id != wanted.participant_id:
            raise ForbiddenError
        endpoint_ids: list[str] | None = [wanted.endpoint_id]
    elif seen is None:
        endpoint_ids = None
    else:
        found = (endpoints.find(sql, participant_id=one, removed=True) for one in seen)
        endpoint_ids = [endpoint.id for of_participant in found for endpoint in of_participant]
    return Filter(
        endpoint_ids=endpoint_ids,
        message_id=wanted.message_id,
        verdicts=wanted.verdicts,
        type=wanted.type,
        partitionkey=wanted.partitionkey,
        replay=wanted.replay,
        since=wanted.since,
        until=wanted.until,
    )


def _ticket(attempt: Attempt) -> Ticket:
    return Ticket(
        claim_id=attempt.claim_id,
        message_id=attempt.message_id,
        type=attempt.type,
        timestamp=attempt.started_ms // 1000,
        expires=int(time.time()),  # how long the claim lives is looked up when it is sent
        partitionkey=attempt.partitionkey,
        sequence=attempt.sequence,
    )


def _why_not(missed: Missed, endpoint: Endpoint) -> str:
    if missed.counts["gone"]:
        return "cannot be sent: its body is gone"
    if missed.counts["not entitled"] or missed.counts["concerning"]:
        return f"is not open to {endpoint.participant_id}"
    return f"is of a type that {endpoint.name} is not subscribed to, or that is not open to it now"


def _cells(one: Attempt) -> list[object]:
    started_at = format_time(moment_of(one.started_ms))
    return [started_at, *(_harmless(getattr(one, name)) for name in COLUMNS[1:])]


def _harmless(value: object) -> object:
    """Let no spreadsheet take what somebody else wrote for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {*"=+-@\t\r\n"} else value


def _line(cells: Collection[object]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
