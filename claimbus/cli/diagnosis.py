"""What ``claimbus doctor`` looks at. Nothing is changed: nothing declared, migrated or bound.

Every look gives findings; one that fails gives its error as a finding, and the others go on.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from claimbus.broker import frames, topology
from claimbus.broker.connection import Connection
from claimbus.broker.errors import TopologyError
from claimbus.broker.frames import Message
from claimbus.cli import expiry, letter_diagnosis
from claimbus.cli.database import encryption_keys
from claimbus.cli.durations import show_duration
from claimbus.cli.finding import Finding
from claimbus.cli.settings import Settings
from claimbus.cli.wiring import COMMAND_WITHIN, Wiring
from claimbus.cli.wiring.mail import post_office
from claimbus.cli.wiring.webhook import address_guard, webhooks
from claimbus.database import checks, endpoints, parked, rekey
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.events.errors import ClaimbusError
from claimbus.events.sealing import Keys
from claimstore.checks import project
from claimstore.holds import Holds
from claimstore.quarantined import Quarantined
from claimstore.store import ClaimStore
from consumers.webhook import check_url

CLOCKS_APART: Final = 2.0
CLOCKS_FAR_APART: Final = 60.0
"""Seconds between our clock and Redis's, from which there is a warning or an error."""

OLDEST_RABBITMQ: Final = (3, 10)
"""The first with dead-lettering at least once."""

LONG_QUEUE: Final = 10_000
"""Tickets in an endpoint's queue that deserve a look."""

T = TypeVar("T")


async def diagnose(settings: Settings) -> list[Finding]:
    """Look at everything."""
    settings = settings.model_copy(update={"confirm_timeout": timedelta(seconds=COMMAND_WITHIN)})
    async with Wiring(settings, within=COMMAND_WITHIN) as wiring:
        found = [*_settings(wiring), *expiry.findings(settings)]
        store, connection = await asyncio.gather(
            _attempt(wiring.store(strict=False), "Redis", found),
            _attempt(wiring.connection("doctor"), "RabbitMQ", found),
        )
        await _collect(_mail(settings), "mail", found)
        if store is not None:
            await _collect(_redis(settings, store), "Redis", found)
        if connection is not None:
            await _collect(_rabbitmq(wiring, connection), "RabbitMQ", found)
        looked = await asyncio.to_thread(checks.check, settings.database_url)
        about_database = [Finding(one.severity, one.subject, one.message) for one in looked]
        found += about_database
        if ("ok", "database schema") in {finding[:2] for finding in about_database}:
            keys = encryption_keys(settings)
            with Database.open(settings.database_url, migrate=False, keys=keys) as database:
                await _collect(_endpoints(settings, database, store, connection), "endpoints", found)
                await _collect(_letters(settings, database), "dead letters", found)
                await _collect(_authorities(database), "authorities", found)
                await _collect(_in_clear(database, keys), "at rest", found)
    return found


def _settings(wiring: Wiring) -> Iterator[Finding]:
    settings = wiring.settings
    try:
        ladder = wiring.topology.ladder
        webhooks(settings)
        keys = encryption_keys(settings)
    except ClaimbusError as wrong:
        yield Finding("error", "settings", str(wrong))
    else:
        yield Finding("ok", "settings", f"environment {settings.environment}, {len(ladder)} retries")
        told = f"encrypted with key {keys.first}" if keys else "in clear, without CLAIMBUS_ENCRYPTION_KEYS"
        if keys.required:
            told += "; what lies in clear is refused"
        yield Finding("ok", "at rest", f"bodies and secrets are kept {told}")
    if settings.webhook_allow_http:
        yield Finding("warning", "CLAIMBUS_WEBHOOK_ALLOW_HTTP", "is for trying things out only")
    if settings.webhook_networks:
        what = "lets webhooks into networks that are not public; but for a private line, for trying out only"
        yield Finding("warning", "CLAIMBUS_WEBHOOK_NETWORKS", what)
    if any(first < last for first, last in settings.webhook_ports):
        yield Finding("warning", "CLAIMBUS_WEBHOOK_PORTS", "has a range, which is for trying things out only")


async def _in_clear(database: Database, keys: Keys) -> AsyncIterator[Finding]:
    """Tell what is refused because it lies in clear."""
    if keys.required:
        secrets = (await database.read(rekey.secrets_by_key))[None]
        parked = (await database.read(rekey.parked_by_key))[None]
        if secrets or parked:
            what = f"{secrets:,} secrets and {parked:,} parked events lie in clear, and are refused"
            yield Finding("error", "CLAIMBUS_ENCRYPTION_REQUIRED", f"{what}; run 'claimbus rekey'")


async def _mail(settings: Settings) -> AsyncIterator[Finding]:
    post = post_office(settings)
    if post is None:
        yield Finding("ok", "mail", "no contact is told of anything, without CLAIMBUS_MAIL_URL")
    else:
        yield Finding("ok", "mail", await post.check())


async def _redis(settings: Settings, store: ClaimStore) -> AsyncIterator[Finding]:
    for severity, setting, message in store.findings:
        yield Finding(severity, f"Redis {setting}", message)
    projection = await project(store.connection, life=settings.claim_life)
    yield Finding(
        "ok",
        "Redis claims",
        f"about {projection.keys:,} keys take {projection.used / 2**20:,.1f} MiB, "
        f"and {projection.expected / 2**20:,.1f} MiB once as many expire as come",
    )
    clocks = await store.connection.clocks()
    apart = max(abs(clock - time.time()) for clock in clocks)
    if apart < CLOCKS_APART:
        yield Finding("ok", "clock", "agrees with Redis's")
    else:
        yield Finding(
            "error" if apart > CLOCKS_FAR_APART else "warning",
            "clock",
            f"is {show_duration(apart)} away from Redis's, by which claims expire; set both by NTP",
        )


async def _rabbitmq(wiring: Wiring, connection: Connection) -> AsyncIterator[Finding]:
    yield _version(connection)
    names = [topology.DEADLETTERS, topology.JOURNAL, *(rung.queue for rung in wiring.topology.ladder)]
    counts = await topology.message_counts(connection, names)
    missing = [name for name, count in counts.items() if count is None]
    if missing:
        what = f"{', '.join(missing)} not there yet; the first worker or producer declares them"
        yield Finding("warning", "RabbitMQ topology", what)
    else:
        yield Finding("ok", "RabbitMQ topology", "is declared")
    letters, journal, *rungs = counts.values()
    if journal is not None:
        try:
            async with await connection.channel() as channel:
                await topology.declare_journal(channel, wiring.topology)
        except TopologyError as differs:
            yield Finding("error", "RabbitMQ journal", str(differs))
    yield letter_diagnosis.recorder(letters)
    waiting = sum(rung.messages for rung in rungs if rung is not None)
    yield Finding("ok", "retries", f"{waiting:,} deliveries wait for their next attempt")
    await _publish_to_nobody(wiring)
    yield Finding("ok", "RabbitMQ confirms", "what is published is confirmed, no alarm is on")


def _version(connection: Connection) -> Finding:
    # Connection does not tell what RabbitMQ said of itself in the handshake.
    properties = connection._transport.server_properties if connection._transport else {}  # noqa: SLF001
    version = str(properties.get("version", "unknown"))
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers and numbers < OLDEST_RABBITMQ:
        return Finding("error", "RabbitMQ version", f"is {version}: 3.10 or newer is needed")
    return Finding("ok", "RabbitMQ version", f"is {version}")


async def _publish_to_nobody(wiring: Wiring) -> None:
    """Have messages confirmed that reach no queue: RabbitMQ tells of its alarms only to who publishes.

    The first one it takes nevertheless, and blocks the connection then.
    """
    publisher = await wiring.publisher("doctor: publishes", declares=False)
    encoded = frames.properties(content_type="text/plain", headers={})
    for _ in range(2):
        await publisher.publish(Message("", "claimbus.doctor", encoded, b"", mandatory=False), within=0)


async def _endpoints(
    settings: Settings, database: Database, store: ClaimStore | None, connection: Connection | None
) -> AsyncIterator[Finding]:
    known = await database.read(endpoints.find)
    states = Counter(one.state for one in known)
    others = ", ".join(f"{states[state]:,} {state}" for state in ("pending", "paused", "disabled"))
    yield Finding("ok", "endpoints", f"{len(known):,}, of which {others}")
    guard = address_guard(settings)
    for one in known:
        if one.state == "pending":
            what = f"is not verified, its queue only collects; 'claimbus endpoints verify {one.id}'"
            yield Finding("warning", f"endpoint {one.id}", what)
        if one.url is not None and not guard.permits(port := _port(one.url)):
            what = f"its port {port} is none of CLAIMBUS_WEBHOOK_PORTS: nothing can be sent there"
            yield Finding("error", f"endpoint {one.id}", what)
        if one.age_limit_s >= settings.claim_life.total_seconds():
            limit, life = show_duration(one.age_limit_s), show_duration(settings.claim_life.total_seconds())
            what = f"its age limit of {limit} is not below a claim's life of {life}; change one of them"
            yield Finding("error", f"endpoint {one.id}", what)
    if store is not None:
        for finding in await _held(known, store):
            yield finding
    if connection is not None:
        for finding in await _queues(known, connection):
            yield finding
    waiting = (await database.read(lambda sql: parked.find(sql, limit=1000))).rows
    if waiting:
        count = f"{len(waiting):,}" + ("" if len(waiting) < 1000 else " or more")
        what = f"{count}, since nobody owns their resource; see 'claimbus oms parked'"
        yield Finding("warning", "parked events", what)


def _port(url: str) -> int:
    return check_url(url, allow_http=True).port_or_known_default or 0


async def _letters(settings: Settings, database: Database) -> AsyncIterator[Finding]:
    for finding in await database.read(lambda sql: letter_diagnosis.look(sql, settings)):
        yield finding


async def _authorities(database: Database) -> AsyncIterator[Finding]:
    now = datetime.now(UTC)
    for finding in expiry.judged(await database.read(lambda sql: expiry.of_authorities(sql, now)), now):
        yield finding


async def _held(known: Collection[Endpoint], store: ClaimStore) -> list[Finding]:
    states = await Holds(store.connection).state([one.id for one in known])
    found = [
        Finding(
            "warning",
            f"endpoint {name}",
            f"is held since {show_duration(time.time() - state.since / 1000)}, after {state.failures} "
            f"failures in a row; see 'claimbus attempts list --endpoint {name}'",
        )
        for name, state in states.items()
        if state.since is not None
    ]
    return found + [
        Finding("error", f"endpoint {name}", "is in quarantine: its queue is away or does not answer")
        for name in await Quarantined(store.connection).all()
    ]


async def _queues(known: Collection[Endpoint], connection: Connection) -> list[Finding]:
    queues = {topology.endpoint_queue(one.id, one.generation): one for one in known}
    counts = await topology.message_counts(connection, queues)
    there = {queues[name].id: count for name, count in counts.items() if count is not None}
    found = [
        Finding("warning", f"endpoint {name}", f"{count.messages:,} tickets wait in its queue")
        for name, count in there.items()
        if count.messages >= LONG_QUEUE
    ]
    active = [one.id for one in known if one.state == "active"]
    without = [name for name in active if name not in there]
    if without:
        what = f"{', '.join(without)} not there yet; 'claimbus work' makes them"
        found.append(Finding("warning", "missing queues", what))
    idle = [name for name in active if name in there and not there[name].consumers]
    if idle:
        what = f"no worker consumes {', '.join(idle)}; is 'claimbus work' running?"
        found.append(Finding("warning", "workers", what))
    total = sum(count.messages for count in there.values())
    return [*found, Finding("ok", "endpoint queues", f"{total:,} tickets wait in all")]


async def _attempt(opening: Awaitable[T], subject: str, found: list[Finding]) -> T | None:
    try:
        return await opening
    except ClaimbusError as failed:
        found.append(Finding("error", subject, str(failed)))
        return None


async def _collect(look: AsyncIterator[Finding], subject: str, found: list[Finding]) -> None:
    try:
        async for finding in look:
            found.append(finding)  # noqa: PERF401 - what was found before an error counts
    except ClaimbusError as failed:
        found.append(Finding("error", subject, str(failed)))
