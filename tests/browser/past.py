"""What happened before anybody looks: a day of attempts, and deliveries that were given up."""

import itertools
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from claimbus.broker.codec import Letter
from claimbus.database import attempts, deaths
from claimbus.database.attempts import Attempt
from claimbus.database.endpoint import Endpoint
from claimbus.database.letters import DeadLetter
from claimbus.deadletters.row import row_of
from claimbus.events.catalogue import lookup
from claimbus.events.event import Event, audience_of, new_id
from claimbus.events.markets import PACIFIC
from claimstore.holds import Holds
from tests.browser.system import System
from tests.deadletters.stage import Cemetery

DAY: Final = timedelta(days=1)
TYPES: Final = {
    "oms.resource-outage.status-changed": 9,
    "oms.resource-outage.created": 4,
    "oms.resource-outage.changed": 4,
    "oms.resource-outage.ended": 3,
    "market.fmm.results-published": 6,
    "market.dam.closed": 1,
    "market.dam.results-published": 1,
}
"""Event types, and how often each comes."""

REFUSED: Final = (5, 30)
LADDER: Final = (5, 30, 120, 600, 3600, 21600)
"""Seconds between one attempt and the next: of what is refused, and of what fails until the last rung."""


class Failure(NamedTuple):
    """How an attempt ends that does not succeed; ``took_ms`` is None where it took what others take."""

    verdict: str
    detail: str
    status: int | None = None
    answer: bytes | None = None
    took_ms: int | None = None
    next: str = "retry in 5 s"


def day(
    endpoint: Endpoint,
    now: datetime,
    dice: random.Random,
    per_hour: float,
    fails: Callable[[float], Failure | None],
    *,
    until: float = 0.0,
) -> Iterator[Attempt]:
    """Make a day of attempts: busier by day than by night, ``until`` so many hours ago.

    ``fails`` tells for an attempt, by how many hours ago it was, how it failed.
    """
    ago = 24.0
    while per_hour and (ago := ago - dice.expovariate(per_hour * (1.2 + math.sin(ago / 3.8)))) > until:
        yield attempt(endpoint, now - timedelta(hours=ago), dice, fails(ago))


def attempt(endpoint: Endpoint, at: datetime, dice: random.Random, failure: Failure | None) -> Attempt:
    """Make one attempt at an event of its own."""
    type_ = dice.choices(list(TYPES), list(TYPES.values()))[0]
    is_outage = type_.startswith("oms.")
    took, event = max(3, int(dice.lognormvariate(3.3, 0.8))), new_id()
    made = Attempt(
        started_ms=int(at.timestamp() * 1000),
        id=attempts.new_id(),
        endpoint_id=endpoint.id,
        message_id=f"evt_{event.replace('-', '')[:24]}",
        verdict="delivered",
        participant_id=endpoint.participant_id,
        type=type_,
        claim_id=new_id(),
        attempt=1,
        status=None if endpoint.kind == "stream" else 204,
        duration_ms=took,
        next="ack",
        detail=None,
        answer_head=None,
        replay=None,
        source="urn:claimbus:map-stage:" + type_.partition(".")[0],
        event_id=event,
        partitionkey=str(18_200_000 + dice.randrange(400)) if is_outage else _trading(type_, at),
        sequence=dice.randrange(1, 9) if is_outage else None,
    )
    return made if failure is None else _failed(made, failure)


async def bury(
    system: System,
    endpoint: Endpoint,
    given_up: Iterable[tuple[Event, timedelta]],
    cause: str,
    failure: Failure,
    *,
    pauses: Sequence[int] = REFUSED,
    dice: random.Random,
) -> tuple[DeadLetter, ...]:
    """Make dead letters of these events, each given up so long ago, with its attempts and its body."""
    events, ages = zip(*given_up, strict=True)
    cemetery, now = Cemetery(system.database, system.store, Holds(system.store.connection)), datetime.now(UTC)
    rows: list[tuple[DeadLetter, Any]] = []
    tries: list[Attempt] = []
    for event, ticket, age in zip(events, await cemetery.tickets(*events), ages, strict=True):
        died = now - age
        letter = Letter(
            body=ticket.body(),
            ticket=ticket,
            endpoint=endpoint.id,
            cause=cause,
            detail=failure.detail,
            attempts=len(pauses) + 1,
            status=failure.status,
            died=int(died.timestamp()),
        )
        row, group = row_of(letter, endpoint.participant_id, now)
        rows.append((replace(row, state_at=died), group))
        known: dict[str, Any] = {
            "message_id": event.identity,
            "type": event.type,
            "claim_id": ticket.claim_id,
            "event_id": event.id,
            "source": event.source,
            "partitionkey": event.partitionkey,
            "sequence": event.sequence,
        }
        left = [sum(pauses[number:]) for number in range(len(pauses))]
        follows = [f"retry in {pause} s" for pause in pauses]
        for nth, before, next_ in zip(
            itertools.count(1), [*left, 0], [*follows, f"dead letter: {cause}"], strict=False
        ):
            at = died - timedelta(seconds=before)
            tries.append(attempt(endpoint, at, dice, failure)._replace(**known, attempt=nth, next=next_))
    claims = [await cemetery.copy(row.claim_id or "") for row, _ in rows]
    with system.database.transaction() as sql:
        deaths.record(sql, [row for row, _ in rows], [group for _, group in rows], claims)
        attempts.record(sql, sorted(tries))
    return tuple(row for row, _ in rows)


def event_for(participant: str, type_: str, *, mrid: str = "", sequence: int | None = None) -> Event:
    """Make an event that one participant may see: the catalogue's example, of the outage named."""
    kind = lookup(type_)
    body = {**kind.example, "mrid": mrid} if mrid else kind.example
    return Event(
        type=type_,
        source="urn:claimbus:map-stage:oms",
        id=new_id(),
        time=datetime.now(UTC) - timedelta(hours=2),
        body=json.dumps(body).encode(),
        audience=audience_of([participant]),
        datacontenttype="application/json",
        dataschema=kind.newest.uri,
        partitionkey=kind.partitionkey(body),
        sequence=sequence,
    )


def _failed(made: Attempt, failure: Failure) -> Attempt:
    return made._replace(
        verdict=failure.verdict,
        detail=failure.detail,
        status=failure.status,
        answer_head=failure.answer,
        duration_ms=made.duration_ms if failure.took_ms is None else failure.took_ms,
        next=failure.next,
    )


def _trading(type_: str, at: datetime) -> str:
    """Return what a market's event is about: tomorrow, or the trade date and hour."""
    market, local = type_.split(".")[1], at.astimezone(ZoneInfo(PACIFIC))
    return f"dam/{local + DAY:%Y-%m-%d}" if market == "dam" else f"{market}/{local:%Y-%m-%d}/{local.hour + 1}"
