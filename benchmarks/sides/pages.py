"""The steps of the benchmark of the pages: a database as full as it may get, then every page."""

import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

import pika
import psycopg
from pyreqwest.client import Client, ClientBuilder
from sqlalchemy import Connection

from benchmarks import full
from benchmarks.product import ACT
from benchmarks.side import Order, Outcome, Stopwatch, play
from claimbus.broker.topology import endpoint_queue
from claimbus.cli.settings import load
from claimbus.cli.wiring import Wiring
from claimbus.database import attempts, directory, letters, tokens
from claimbus.database.access import Grant, Role
from claimbus.database.endpoint import Endpoint
from claimbus.portal.pages.letters import AT_ONCE

LOOKED_AHEAD: Final = AT_ONCE
"""Letters of the largest preflight that a page waits for; their bodies are in Redis."""

DEEP: Final = 20_000
"""How deep in a list its later pages lie, at most."""

_CSRF: Final = re.compile(r'name="csrf" value="([^"]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewing(Order):
    """Do one step: fill a ``database``, or ask each of ``pages`` of the portal at ``url`` ``repeat`` times.

    A page is its name, whose it is (a key of ``tokens``), and its path; after ``POST`` its form stands behind
    the ``?``.
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
    watch, now = Stopwatch(), datetime.now(UTC)
    async with Wiring(settings) as wiring:
        database = wiring.database()
        people = full.add_participants(database, order.participants, now)
        there = full.add_endpoints(database, people, order.endpoints, now)
        await wiring.publisher("benchmark")  # it declares the topology
        _declare_queues(there)
        full.add_attempts(database, there, order.attempts, now)
        last = full.add_letters(database, there, order.letters, now)
        await full.keep_bodies(await wiring.store(), there, of=order.letters, count=LOOKED_AHEAD)
        replay = full.add_redeliveries(database, there, now)
        full.park(database, now)
        with database.transaction() as sql:
            there_is = _about(sql, there[0], last.fingerprint)
    _vacuum(order.database)
    ahead = last.died_at - 7 * full.DAY * (min(LOOKED_AHEAD, order.letters) - 1) / order.letters
    return watch.outcome(
        order.attempts,
        **there_is,
        participant=people[0],
        letter=last.id,
        group=last.fingerprint,
        replay=replay,
        ahead=ahead.strftime("%Y-%m-%dT%H:%M:%SZ"),
        half=f"{int((now - full.DAY / 2).timestamp() * 1000)}-0",
    )


def _about(sql: Connection, endpoint: Endpoint, group: str) -> dict[str, str]:
    """Return tokens of an operator and of a UAA, and what some of the pages are about."""
    ends = datetime.now(UTC) + timedelta(days=1)
    operator = Grant(frozenset({Role.OPERATOR}))
    uaa = Grant(frozenset({Role.UAA}), None, endpoint.organisation_id)
    [tried] = attempts.find(sql, attempts.Filter(endpoint_ids=[endpoint.id]), limit=1).rows
    return {
        "operator": tokens.add(sql, "operator", operator, ACT, expires_at=ends)[1],
        "uaa": tokens.add(sql, "uaa", uaa, ACT, expires_at=ends)[1],
        "endpoint": endpoint.id,
        "message": tried.message_id,
        "partitionkey": tried.partitionkey or "",
        "letters_cursor": letters.find(sql, letters.Filter(group=group), limit=DEEP).cursor or "",
        "participants_cursor": directory.participants(sql, limit=300).cursor or "",
    }


def _vacuum(url: str) -> None:
    """Have PostgreSQL do at once what its autovacuum does a minute later."""
    if url.startswith("postgresql"):
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


def _declare_queues(there: list[Endpoint]) -> None:
    """Declare the queues that are counted; classic ones, which are made in a tenth of the time."""
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["CLAIMBUS_AMQP_URL"]))
    channel = connection.channel()
    for one in there:
        channel.queue_declare(endpoint_queue(one.id, one.generation), durable=True)
    connection.close()


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is logged in: the cookie, and what their forms carry."""

    cookie: str
    csrf: str


async def ask(order: Viewing) -> Outcome:
    """Ask every page, one at a time; what it tells of each are the milliseconds of every answer."""
    watch, found, sessions = Stopwatch(), dict[str, str | float](), dict[str, Session]()
    for name, whose, path in order.pages:
        # A client each: after a page that failed the portal closes the connection.
        async with ClientBuilder().no_proxy().follow_redirects(False).build() as client:
            if whose not in sessions:
                sessions[whose] = await _session(client, order.url, order.tokens[whose])
            found[name] = await _times(client, order.url, path, sessions[whose], order.repeat)
    return watch.outcome(len(order.pages) * order.repeat, **found)


async def _session(client: Client, url: str, token: str) -> Session:
    form = urlencode({"token": token, "by": "token"})
    answer = await client.post(f"{url}/login").headers(_form_of(url)).body_text(form).build().send()
    if answer.status != 303:
        raise SystemExit(f"the login was answered {answer.status}: {await answer.text()}")
    cookie = answer.headers["set-cookie"].partition(";")[0]
    page = await client.get(f"{url}/audit").header("cookie", cookie).build().send()
    hidden = _CSRF.search(await page.text())
    if hidden is None:
        raise SystemExit("no page has a form")
    return Session(cookie, hidden[1])


async def _times(client: Client, url: str, path: str, session: Session, repeat: int) -> str:
    """Return the milliseconds of each answer, or what else came instead of a page."""
    method, _, address = path.rpartition(" ")
    times = []
    for _ in range(repeat):
        if method == "POST":
            place, _, form = address.partition("?")
            fields = f"{form}&{urlencode({'csrf': session.csrf})}"
            request = client.post(url + place).headers(_form_of(url)).body_text(fields)
        else:
            request = client.get(url + address)
        begun = time.perf_counter()
        answer = await request.header("cookie", session.cookie).build().send()
        content = await answer.bytes()
        times.append((time.perf_counter() - begun) * 1000)
        if answer.status != 200:
            return f"answered {answer.status}: {content.to_bytes()[:200].decode(errors='replace')}"
    return " ".join(f"{one:.2f}" for one in times)


def _form_of(url: str) -> dict[str, str]:
    return {"content-type": "application/x-www-form-urlencoded", "origin": url}


STEPS: Final = {step.__name__: step for step in (fill, ask)}


async def carry_out(order: Viewing) -> Outcome:
    return await STEPS[order.step](order)


if __name__ == "__main__":
    play(Viewing, carry_out)
