"""Is everything reaching everybody? One look for operators; a part whose server is away says so."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from claimbus.broker import topology
from claimbus.broker.channel import QueueCounts
from claimbus.broker.connection import Connection
from claimbus.database import activity, directory, letters
from claimbus.database import endpoints as endpoints_table
from claimbus.database.access import Principal, Role
from claimbus.database.endpoint import Endpoint
from claimbus.database.letters import Filter
from claimbus.database.schema import moment_of
from claimbus.events.errors import ClaimbusError
from claimbus.portal.desk import backlog, health, memory, patience, scope
from claimbus.portal.desk.figures import (
    Arrivals,
    Backlog,
    Cause,
    DatabaseState,
    Flow,
    Held,
    Overview,
    Part,
    RabbitMQ,
    Redis,
    Waiting,
    Workers,
)
from claimbus.portal.desk.following import Following
from claimbus.portal.desk.memory import Fresh, Memory
from claimbus.portal.services import Services
from claimstore.checks import Projection, project

if TYPE_CHECKING:
    from sqlalchemy import Connection as Sql

T = TypeVar("T")

KEPT: Final = 1.0
"""Seconds for which a look counts, whoever asks."""

MOST: Final = 1.5
"""Seconds for which it counts at most, however long it took: what is live is there within two."""

COUNTS_STALE: Final = 20.0
"""Seconds for which old counts of queues are shown while new ones are made: of 2,000 that takes a second."""

SETTLED: Final = timedelta(minutes=1)
"""How long an endpoint has been added or verified before it counts that nobody takes from its queue: until
workers do, and the counts are new."""

STALE: Final = 5.0
"""Seconds after which nobody is shown an old look any more while a new one is under way."""

WITHIN: Final = 4.0
"""Seconds that a part may take."""

LATELY: Final = timedelta(minutes=1)
"""How far back rates and latencies look."""

TOP: Final = 10
"""Rows of the longest backlogs."""

SEEN_AT_MOST: Final = 2000
"""Newest deliveries that latencies are taken from."""

FORECAST_KEPT: Final = 30.0
"""Seconds for which Redis's forecast counts: it takes a sample of its keys."""


class _Looks:
    """What is shared by all who look at a portal's overview."""

    def __init__(self) -> None:
        self.overview: Fresh[Overview] = Fresh(KEPT, STALE, most=MOST)
        self.counts: Fresh[Mapping[str, QueueCounts | None]] = Fresh(backlog.KEPT, stale=COUNTS_STALE)
        self.forecast: Fresh[Projection] = Fresh(FORECAST_KEPT, stale=10 * FORECAST_KEPT)


async def now(services: Services, who: Principal) -> Overview:
    """Return the overview, to operators: at most some seconds old, however many look at it."""
    scope.must_be(who, Role.OPERATOR)
    kept = memory.of(services)
    return await kept.the(_Looks).overview.get(kept, lambda: _look(services, kept))


async def _look(services: Services, kept: Memory) -> Overview:
    known = asyncio.create_task(services.database.read(endpoints_table.find))
    counts = asyncio.create_task(_counts(services, kept))
    try:
        async with asyncio.TaskGroup() as parts:
            arrivals = parts.create_task(_part(_arrivals(services, kept)))
            flow = parts.create_task(_part(_flow(services)))
            longest = parts.create_task(_part(_backlog(known, counts)))
            workers = parts.create_task(_part(_workers(known, counts)))
            held = parts.create_task(_part(_held(services, known)))
            dead = parts.create_task(_part(_dead(services)))
            rabbitmq = parts.create_task(_part(_rabbitmq(services)))
            redis = parts.create_task(_part(_redis(services, kept)))
            database = parts.create_task(_part(_database(services)))
    finally:
        for task in (known, counts):
            task.cancel()
        await asyncio.gather(known, counts, return_exceptions=True)
    return Overview(
        at=datetime.now(UTC),
        arrivals=arrivals.result(),
        flow=flow.result(),
        backlog=longest.result(),
        workers=workers.result(),
        held=held.result(),
        dead=dead.result(),
        rabbitmq=rabbitmq.result(),
        redis=redis.result(),
        database=database.result(),
    )


async def _part(look: Awaitable[T]) -> Part[T]:
    try:
        async with asyncio.timeout(WITHIN):
            return Part(await look)
    except TimeoutError:
        return Part(None, f"no answer within {WITHIN:g} s")
    except ClaimbusError as away:
        return Part(None, str(away))


async def _arrivals(services: Services, kept: Memory) -> Arrivals:
    following = kept.the(Following)
    patience.must_be_connected(services)
    found = await following.look(kept, services.consuming)
    since = datetime.now(UTC) - LATELY
    newest = await services.database.read(lambda sql: activity.newest_deliveries(sql, since, SEEN_AT_MOST))
    latencies = Counter(following.latencies(newest))
    rate, seconds = (None, 0.0) if found is None else (found.rate, found.seconds)
    return Arrivals(
        events_rate=rate,
        seconds=seconds,
        p50_ms=quantile(latencies, 0.5),
        p99_ms=quantile(latencies, 0.99),
    )


async def _flow(services: Services) -> Flow:
    since = datetime.now(UTC) - LATELY
    counted = await services.database.read(lambda sql: activity.lately(sql, since))
    return Flow(
        deliveries_rate=counted.delivered / LATELY.total_seconds(),
        failures_rate=counted.failed / LATELY.total_seconds(),
        p50_ms=quantile(counted.durations, 0.5),
        p99_ms=quantile(counted.durations, 0.99),
    )


async def _counts(services: Services, kept: Memory) -> Mapping[str, QueueCounts | None]:
    async def counting() -> Mapping[str, QueueCounts | None]:
        return await backlog.of(services, await services.database.read(endpoints_table.find))

    patience.must_be_connected(services)
    return await kept.the(_Looks).counts.get(kept, counting)


async def _backlog(
    known: asyncio.Task[tuple[Endpoint, ...]], counts: asyncio.Task[Mapping[str, QueueCounts | None]]
) -> Backlog:
    counted = await asyncio.shield(counts)
    rows = [
        Waiting(one, there.messages, there.consumers)
        for one in await asyncio.shield(known)
        if (there := counted.get(one.id)) is not None and there.messages
    ]
    longest = sorted(rows, key=lambda row: -row.messages)[:TOP]
    return Backlog(sum(row.messages for row in rows), tuple(longest))


def _is_settled(endpoint: Endpoint, now: datetime) -> bool:
    """Tell whether an endpoint has been active for a while, as far as its row tells."""
    return max(endpoint.created_at, endpoint.verified_at or endpoint.created_at) <= now - SETTLED


async def _workers(
    known: asyncio.Task[tuple[Endpoint, ...]], counts: asyncio.Task[Mapping[str, QueueCounts | None]]
) -> Workers:
    counted = await asyncio.shield(counts)
    now = datetime.now(UTC)
    active = [
        one
        for one in await asyncio.shield(known)
        if one.state == "active" and one.kind == "webhook" and _is_settled(one, now)
    ]
    alone = [one for one in active if (there := counted.get(one.id)) is None or not there.consumers]
    return Workers(len(active), tuple(alone))


async def _held(services: Services, known: asyncio.Task[tuple[Endpoint, ...]]) -> tuple[Held, ...]:
    of_id = {one.id: one for one in await asyncio.shield(known)}
    states = {id_: state for id_, state in (await services.holds.state(of_id)).items() if state.held}
    history = await services.database.read(lambda sql: activity.last_holds(sql, states))
    found = [
        Held(
            endpoint=of_id[id_],
            since=since,
            why=health.why_held(since, history.get(id_)),
            failures=state.failures,
            next_probe=None if state.next_probe is None else moment_of(state.next_probe),
        )
        for id_, state in states.items()
        if (since := moment_of(state.since or 0))
    ]
    return tuple(sorted(found, key=lambda one: one.since))


async def _dead(services: Services) -> tuple[Cause, ...]:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)

    def counting(sql: "Sql") -> tuple[dict[str, int], dict[str, int]]:
        return (
            letters.count(sql, Filter(), by="cause"),
            letters.count(sql, Filter(since=hour_ago), by="cause"),
        )

    counts, lately = await services.database.read(counting)
    found = [Cause(cause, count, lately.get(cause, 0)) for cause, count in counts.items()]
    return tuple(sorted(found, key=lambda one: -one.count))


async def _rabbitmq(services: Services) -> RabbitMQ:
    patience.must_be_connected(services)
    counts = await topology.message_counts(services.consuming, [topology.DEADLETTERS])
    unrecorded = counts[topology.DEADLETTERS]
    return RabbitMQ(
        version=_version(services.consuming),
        blocked=services.publisher.connection.blocked or services.consuming.blocked or "",
        unrecorded=0 if unrecorded is None else unrecorded.messages,
    )


async def _redis(services: Services, kept: Memory) -> Redis:
    connection = services.store.connection
    answers = await asyncio.gather(*(master.ask("INFO", "memory") for master in connection.masters))
    facts = [dict(line.split(":", 1) for line in one.decode().splitlines() if ":" in line) for one in answers]
    forecast = await kept.the(_Looks).forecast.get(
        kept, lambda: project(connection, life=services.claim_life)
    )
    return Redis(
        used=sum(int(one["used_memory"]) for one in facts),
        limit=sum(int(one["maxmemory"]) for one in facts),
        forecast=forecast,
    )


async def _database(services: Services) -> DatabaseState:
    begun = asyncio.get_running_loop().time()
    await services.database.read(lambda sql: directory.participants(sql, limit=1))
    took = asyncio.get_running_loop().time() - begun
    return DatabaseState("SQLite" if services.database.is_sqlite else "PostgreSQL", took * 1000)


def _version(connection: Connection) -> str:
    # Connection does not tell what RabbitMQ said of itself in the handshake.
    transport = connection._transport  # noqa: SLF001
    properties = {} if transport is None else transport.server_properties
    return str(properties.get("version", "unknown"))


def quantile(counted: Mapping[int, int], share: float) -> int | None:
    """Return the value that this share of all does not exceed, from how often each comes; None for none."""
    left = share * sum(counted.values())
    for value in sorted(counted):
        left -= counted[value]
        if left <= 0:
            return value
    return None
