"""The steps of the benchmark of the pages: a database as full as it may get, then every page."""

import os
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

import pika
import psycopg
from pyreqwest.client import Client, ClientBuilder

from benchmarks.product import ACT
from benchmarks.side import Order, Outcome, Stopwatch, play
from claimbus.broker.topology import endpoint_queue
from claimbus.cli.settings import load
from claimbus.cli.wiring import Wiring
from claimbus.database import attempts, endpoints, entitlements, holds, letters, participants, replays, tokens
from claimbus.database.access import Grant, Role
from claimbus.database.attempts import Attempt
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.entitlements import Entitlement
from claimbus.database.holds import HoldEvent
from claimbus.database.letter import DeadLetter, letter_id
from claimbus.events.fingerprint import fingerprint

DAY: Final = timedelta(days=1)
BATCH: Final = 10_000
ONE_IN: Final = 50
"""Of so many attempts one failed."""

PARTICIPANTS_OF_ONE: Final = 5
"""How many participants an organisation has."""

RESOURCES: Final = 20
REPLAYED: Final = 1000
TYPES: Final = (
    "oms.resource-outage.status-changed",
    "oms.resource-outage.created",
    "oms.resource-outage.changed",
    "market.fmm.results-published",
    "market.dam.closed",
)
FAULTS: Final = (
    ("rejected", 422, "answered 422: unknown resource"),
    ("rejected", 401, "answered 401"),
    ("failed", 503, "answered 503 Service Unavailable"),
    ("failed", None, "connect timeout after 5 s"),
    ("failed", None, "certificate has expired"),
    ("expired", None, "older than 72 h"),
)
GROUPS: Final = [fingerprint(*fault) for fault in FAULTS]
_CSRF: Final = re.compile(r'name="csrf" value="([^"]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewing(Order):
    """Do one step: fill a ``database``, or ask each of ``pages`` of the portal at ``url`` ``repeat`` times.

    A page is its name, whose it is (a key of ``tokens``), and its path.
    """

    step: str
    database: str
    key_prefix: str
    participants: int
    endpoints: int
    attempts: int
    letters: int
    url: str
    tokens: dict[str, str]
    pages: list[tuple[str, str, str]]
    repeat: int


async def fill(order: Viewing) -> Outcome:
    """Fill the database; what it tells are two tokens, and what pages are about."""
    settings = load(
        amqp_url=os.environ["CLAIMBUS_AMQP_URL"],
        redis_url=os.environ["CLAIMBUS_REDIS_URL"],
        key_prefix=order.key_prefix,
        database_url=order.database,
    )
    watch, dice, now = Stopwatch(), random.Random(6), datetime.now(UTC)
    async with Wiring(settings) as wiring:
        database = wiring.database()
        people = _people(database, order.participants, now)
        there = _endpoints(database, people, order.endpoints, now)
        await wiring.publisher("benchmark")  # it declares the topology
        _declare_queues(there)
        for batch in _batches(order.attempts):
            with database.transaction() as sql:
                attempts.record(sql, [_attempt(there, n, order.attempts, now, dice) for n in batch])
        for batch in _batches(order.letters):
            with database.transaction() as sql:
                rows = [_letter(there, n, order.letters, now) for n in batch]
                letters.record(sql, rows, GROUPS, [])
        last = _letter(there, order.letters - 1, order.letters, now)
        with database.transaction() as sql:
            chosen = letters.select_ids(sql, letters.Filter(endpoint_id=there[0].id))[:REPLAYED]
            job = replays.create(sql, chosen, ACT, selection={"endpoint": there[0].id}, rate=50, canary=True)
            replays.pause(sql, job.id, Act("benchmark", "so that nobody sends"))
            ends = now + timedelta(days=1)
            operator = tokens.add(
                sql, "operator", Grant(frozenset({Role.OPERATOR})), Act("benchmark"), expires_at=ends
            )[1]
            grant = Grant(frozenset({Role.UAA}), None, there[0].organisation_id)
            uaa = tokens.add(sql, "uaa", grant, Act("benchmark"), expires_at=ends)[1]
            page = attempts.find(sql, attempts.Filter(endpoint_ids=[there[0].id]), limit=1)
    _vacuum(order.database)
    return watch.outcome(
        order.attempts,
        operator=operator,
        uaa=uaa,
        endpoint=there[0].id,
        participant=people[0],
        message=page.rows[0].message_id,
        partitionkey=page.rows[0].partitionkey or "",
        letter=last.id,
        group=last.fingerprint,
        replay=job.id,
    )


def _vacuum(url: str) -> None:
    """Have PostgreSQL do at once what its autovacuum does a minute later."""
    if url.startswith("postgresql"):
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


def _people(database: Database, count: int, now: datetime) -> list[str]:
    names = [f"P{number:03}" for number in range(count)]
    with database.transaction() as sql:
        for number, name in enumerate(names):
            participants.add(sql, name, f"Organisation {number // PARTICIPANTS_OF_ONE}", ACT)
        owned = [
            Entitlement(f"{name}_UNIT_{number}", name, now - DAY)
            for name in names
            for number in range(RESOURCES)
        ]
        entitlements.put(sql, owned, ACT)
    return names


def _endpoints(database: Database, people: list[str], count: int, now: datetime) -> list[Endpoint]:
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


def _declare_queues(there: list[Endpoint]) -> None:
    """Declare the queues that are counted; classic ones, which are made in a tenth of the time."""
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["CLAIMBUS_AMQP_URL"]))
    channel = connection.channel()
    for one in there:
        channel.queue_declare(endpoint_queue(one.id, one.generation), durable=True)
    connection.close()


def _attempt(there: list[Endpoint], number: int, of: int, now: datetime, dice: random.Random) -> Attempt:
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
        source="urn:claimbus:benchmark:oms",
        event_id=str(number),
        partitionkey=str(18_000_000 + number % 20_011),
        sequence=1,
    )


def _letter(there: list[Endpoint], number: int, of: int, now: datetime) -> DeadLetter:
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


def _batches(count: int) -> Iterator[range]:
    return (range(start, min(start + BATCH, count)) for start in range(0, count, BATCH))


async def ask(order: Viewing) -> Outcome:
    """Ask every page, one at a time; what it tells of each are the milliseconds of every answer."""
    watch, found, cookies = Stopwatch(), dict[str, str | float](), dict[str, str]()
    for name, whose, path in order.pages:
        # A client each: after a page that failed the portal closes the connection.
        async with ClientBuilder().no_proxy().follow_redirects(False).build() as client:
            if whose not in cookies:
                cookies[whose] = await _cookie(client, order.url, order.tokens[whose])
            found[name] = await _times(client, order.url + path, cookies[whose], order.repeat)
    return watch.outcome(len(order.pages) * order.repeat, **found)


async def _cookie(client: Client, url: str, token: str) -> str:
    form = urlencode({"token": token, "by": "token"})
    headers = {"content-type": "application/x-www-form-urlencoded", "origin": url}
    answer = await client.post(f"{url}/login").headers(headers).body_text(form).build().send()
    if answer.status != 303:
        raise SystemExit(f"the login was answered {answer.status}: {await answer.text()}")
    return answer.headers["set-cookie"].partition(";")[0]


async def _times(client: Client, url: str, cookie: str, repeat: int) -> str:
    """Return the milliseconds of each answer, or what else came instead of a page."""
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        answer = await client.get(url).header("cookie", cookie).build().send()
        content = await answer.bytes()
        times.append((time.perf_counter() - begun) * 1000)
        if answer.status != 200:
            return f"answered {answer.status}: {content.to_bytes()[:200].decode(errors='replace')}"
    return " ".join(f"{one:.2f}" for one in times)


STEPS: Final = {step.__name__: step for step in (fill, ask)}


async def carry_out(order: Viewing) -> Outcome:
    return await STEPS[order.step](order)


if __name__ == "__main__":
    play(Viewing, carry_out)
