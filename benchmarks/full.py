"""A database as full as it may get: what the pages are looked at with."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from benchmarks.bodies import body
from benchmarks.product import ACT
from claimbus.database import (
    attempts,
    certificates,
    endpoints,
    entitlements,
    holds,
    letters,
    parked,
    participants,
    recoveries,
    replays,
    tokens,
)
from claimbus.database.access import Grant, Role
from claimbus.database.attempts import Attempt
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.entitlements import Entitlement
from claimbus.database.holds import HoldEvent
from claimbus.database.letter import DeadLetter, letter_id
from claimbus.database.recoveries import Recovery
from claimbus.deadletters.recover import Recovered
from claimbus.events.event import ALL, Audience, Event, audience_of
from claimbus.events.fingerprint import fingerprint
from claimstore.store import ClaimStore

DAY: Final = timedelta(days=1)
BATCH: Final = 10_000
ONE_IN: Final = 50
"""Of so many attempts one failed."""

PARTICIPANTS_OF_ONE: Final = 5
"""How many participants an organisation has."""

RESOURCES: Final = 20
REPLAYS: Final = 50
REPLAYED: Final = 2_000
"""Letters of each replay, at most."""

RECOVERIES: Final = 300
PARKED: Final = 500
TYPES: Final = (
    "oms.resource-outage.status-changed",
    "oms.resource-outage.created",
    "oms.resource-outage.changed",
    "market.fmm.results-published",
    "market.dam.closed",
)
SOURCE: Final = "urn:claimbus:benchmark:oms"
FAULTS: Final = (
    ("rejected", 422, "answered 422: unknown resource"),
    ("rejected", 401, "answered 401"),
    ("failed", 503, "answered 503 Service Unavailable"),
    ("failed", None, "connect timeout after 5 s"),
    ("failed", None, "certificate has expired"),
    ("expired", None, "older than 72 h"),
)
_THEN: Final = datetime(2026, 1, 1, tzinfo=UTC)
GROUPS: Final = [fingerprint(*fault) for fault in FAULTS]


def add_participants(database: Database, count: int, now: datetime) -> list[str]:
    """Add participants, each with resources, an own token and an own certificate; return their IDs."""
    names = [f"P{number:03}" for number in range(count)]
    with database.transaction() as sql:
        for number, name in enumerate(names):
            participants.add(sql, name, f"Organisation {number // PARTICIPANTS_OF_ONE}", ACT)
            grant = Grant(frozenset({Role.PARTICIPANT}), name)
            tokens.add(sql, f"{name}'s daemon", grant, ACT, expires_at=now + DAY * (1 + number % 300))
            certificates.add(sql, f"CN={name.lower()}.example", grant, ACT)
        owned = [
            Entitlement(f"{name}_UNIT_{number}", name, now - DAY)
            for name in names
            for number in range(RESOURCES)
        ]
        entitlements.put(sql, owned, ACT)
    return names


def add_endpoints(database: Database, people: Sequence[str], count: int, now: datetime) -> list[Endpoint]:
    """Add endpoints to participants in turn; one in fifty is held."""
    with database.transaction() as sql:
        found = [
            endpoints.add(
                sql,
                people[number % len(people)],
                ACT,
                name=f"endpoint {number // len(people)}",
                url=f"https://receiver-{number}.example/events",
                subscriptions=["oms.#", "market.#"],
                verified=bool(number % 97),
            )
            for number in range(count)
        ]
        for one in found[1::50]:
            for ago, what in ((9, "held"), (8, "released"), (1, "held")):
                at = now - timedelta(hours=ago)
                holds.record(sql, HoldEvent(one.id, what, at, "5 failures in a row"))  # type: ignore[arg-type]
    return found


def add_attempts(database: Database, there: Sequence[Endpoint], count: int, now: datetime) -> None:
    """Add attempts of a day, evenly over it and over the endpoints."""
    dice = random.Random(6)
    for batch in _batches(count):
        with database.transaction() as sql:
            attempts.record(sql, [_attempt(there, number, count, now, dice) for number in batch])


def add_letters(database: Database, there: Sequence[Endpoint], count: int, now: datetime) -> DeadLetter:
    """Add dead letters of a week; return the last one."""
    for batch in _batches(count):
        with database.transaction() as sql:
            rows = [_letter(there, number, count, now) for number in batch]
            letters.record(sql, rows, GROUPS, [])
    return _letter(there, count - 1, count, now)


async def keep_bodies(store: ClaimStore, there: Sequence[Endpoint], *, of: int, count: int) -> None:
    """Check in the claims of the last so many letters."""
    for number in range(max(of - count, 0), of):
        letter = _letter(there, number, of, _THEN)
        assert letter.participant_id is not None  # each has one
        event = _event(number, audience_of([letter.participant_id]))
        await store.check_in(event, claim_id=letter.claim_id)


def add_redeliveries(database: Database, there: Sequence[Endpoint], now: datetime) -> str:
    """Add replays and recoveries that have ended; return the newest replay, which is paused."""
    with database.transaction() as sql:
        dead = letters.select_ids(sql, letters.EVERYTHING)
    size = min(REPLAYED, max(len(dead) // REPLAYS, 1))
    for number in reversed(range(REPLAYS)):
        act = Act("benchmark", "their receivers are back", now - number * timedelta(hours=1))
        with database.transaction() as sql:
            some = dead[number * size : (number + 1) * size] or dead[:size]
            job = replays.create(sql, some, act, selection={"cause": "failed"}, rate=50, canary=True)
            turn = replays.cancel if number else replays.pause
            turn(sql, job.id, Act("benchmark", "so that nobody sends", act.at))
    with database.transaction() as sql:
        for number in range(RECOVERIES):
            begun = _recovery(there[number % len(there)], number, now - number * timedelta(hours=3))
            recoveries.begin(sql, begun)
    return job.id


def park(database: Database, now: datetime) -> None:
    """Park events on resources that nobody owns."""
    events = [(f"NOBODYS_UNIT_{number}", _event(number, ALL)) for number in range(PARKED)]
    with database.transaction() as sql:
        parked.park(sql, events, now)


def _attempt(there: Sequence[Endpoint], number: int, of: int, now: datetime, dice: random.Random) -> Attempt:
    """Return the nth attempt of a day, the last one a second ago."""
    endpoint = there[number % len(there)]
    cause, status, detail = FAULTS[number % 5] if number % ONE_IN == 7 else ("delivered", 204, None)
    return Attempt(
        started_ms=int((now - DAY * (of - number) / of).timestamp() * 1000) - 1000,
        id=attempts.new_id(),
        endpoint_id=endpoint.id,
        message_id=f"evt_{number:024}",
        verdict=cause,
        participant_id=endpoint.participant_id,
        type=TYPES[number % 7 % 5],
        claim_id=f"{number:022}",
        attempt=1,
        status=status,
        duration_ms=int(dice.expovariate(1 / 40)) + 3,
        next="ack" if detail is None else "retry in 5 s",
        detail=detail,
        answer_head=None if detail is None else b"<h1>Sorry</h1>" * 20,
        replay=None,
        source=SOURCE,
        event_id=str(number),
        partitionkey=str(18_000_000 + number % 20_011),
        sequence=1,
    )


def _letter(there: Sequence[Endpoint], number: int, of: int, now: datetime) -> DeadLetter:
    """Return the nth dead letter of a week; each cause has its share, and each endpoint."""
    endpoint = there[number * 7 % len(there)]
    index = min(number % 11, len(FAULTS) - 1)
    cause, status, detail = FAULTS[index]
    died = now - 7 * DAY * (of - number) / of
    message = f"evt_{number * ONE_IN:024}"
    return DeadLetter(
        id=letter_id(endpoint.id, message, number, None),
        state_at=died,
        died_at=died,
        cause=cause,
        fingerprint=GROUPS[index].id,
        status=status,
        detail=detail,
        attempts=3,
        endpoint_id=endpoint.id,
        participant_id=endpoint.participant_id,
        message_id=message,
        type=TYPES[number % 5],
        claim_id=f"{number * ONE_IN:022}",
        timestamp=int(died.timestamp()),
        expires=int(died.timestamp()) + 7 * 86400,
    )


def _event(number: int, audience: Audience) -> Event:
    return Event(
        type=TYPES[0],
        source=SOURCE,
        id=str(number),
        time=_THEN,
        body=body(number, 2048),
        audience=audience,
        partitionkey=str(18_000_000 + number),
        sequence=1,
    )


def _batches(count: int) -> Iterator[range]:
    return (range(start, min(start + BATCH, count)) for start in range(0, count, BATCH))


def _recovery(endpoint: Endpoint, number: int, begun_at: datetime) -> Recovery:
    recovered = Recovered(
        replay=f"rc_{number:016}",
        endpoint_state="active",
        waiting=0,
        read=10_000,
        concerning=60,
        settled=20,
        not_entitled=0,
        gone=0,
        redelivered=40,
    )
    return Recovery(
        id=f"rv_{number:016}",
        endpoint_id=endpoint.id,
        participant_id=endpoint.participant_id,
        actor="benchmark",
        reason="it lost its disk",
        since=begun_at - DAY,
        until=begun_at,
        type=None,
        everything=False,
        begun_at=begun_at,
        beat_at=begun_at,
        state="done",
        ended_at=begun_at + timedelta(minutes=1),
        read=10_000,
        total=10_000,
        recovered=recovered.counts(),
    )
