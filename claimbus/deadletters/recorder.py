"""From the queue of dead letters into the database: the body and the letter, then the ack.

A crash anywhere between repeats the work and changes nothing: a letter's ID is derived from the delivery, and
a claim is kept once. Without the database or Redis, and while the bodies fill their budget, nothing is
consumed: the queue keeps everything.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from claimbus.broker.connection import Connection
from claimbus.broker.consumer import Consumer, Delivery
from claimbus.broker.topology import DEADLETTERS
from claimbus.database import endpoints, kept, letters
from claimbus.database.engine import Database
from claimbus.database.errors import NotFoundError
from claimbus.database.kept import KeptClaim
from claimbus.database.letters import DeadLetter
from claimbus.deadletters.copies import Copies
from claimbus.deadletters.metrics import LettersMetrics
from claimbus.deadletters.row import row_of
from claimbus.events.errors import UnavailableError
from claimbus.events.fingerprint import Fingerprint
from claimstore.errors import ClaimError
from claimstore.store import ClaimStore

if TYPE_CHECKING:
    import sqlalchemy

PREFETCH: Final = 1000
MAX_BATCH: Final = 500
GATHERING: Final = 0.05
"""Seconds in which a batch gathers."""

READ_AT_ONCE: Final = 32
"""Claims read in one round trip; their records have 1 MiB each at most."""

MAX_BYTES: Final = 8 << 20
"""Bytes of bodies after which a batch is committed in parts, so that memory and transactions stay small."""

LOOK_EVERY: Final = 10.0
"""Seconds between two looks at what the bodies take of their budget."""

LONGEST_ID: Final = 64
REMEMBERED: Final = 50_000
"""Endpoints of which it is known whose they are, those that were never there among them."""

SHORTEST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""Seconds between two tries when something is away."""

_log = structlog.get_logger("claimbus.deadletters.recorder")


class _Entry(NamedTuple):
    delivery: Delivery
    row: DeadLetter
    group: Fingerprint


class _SweptError(UnavailableError):
    """A body that was kept is gone since the look; the next try copies it from Redis."""


class Recorder:
    """Records what lies in ``deadletters``; any number of processes may each run one."""

    def __init__(
        self,
        connection: Connection,
        store: ClaimStore,
        database: Database,
        *,
        budget: int,
        metrics: LettersMetrics,
        look_every: float = LOOK_EVERY,
    ) -> None:
        """Wire a recorder; ``budget`` is what the bodies may take in the database, in bytes."""
        self._connection = connection
        self._store = store
        self._database = database
        self._copies = Copies(store, database)
        self._budget = budget
        self._metrics = metrics
        self._look_every = look_every
        self._looked = float("-inf")
        self._stored = 0
        self._participants: dict[str, str | None] = {}
        self._pause = SHORTEST_PAUSE

    async def run(self) -> None:
        """Record until cancelled; what is not committed by then goes back into the queue.

        Raises TopologyError when there is no such queue.
        """
        while True:
            try:
                await self._ready()
                await self._consume()
            except UnavailableError as away:
                _log.warning("letters wait", reason=str(away), next="try again; the queue keeps them")
                await asyncio.sleep(self._pause)
                self._pause = min(2 * self._pause, LONGEST_PAUSE)

    async def _ready(self) -> None:
        """Return when Redis and the database answer, and the budget is not used up."""
        await self._store.ping()
        await self._database.run(lambda _: None)
        while not await self._has_room():
            _log.error(
                "letters have filled their budget",
                stored=self._stored,
                budget=self._budget,
                next="none is recorded until there is room; the queue keeps them",
            )
            await asyncio.sleep(self._look_every)

    async def _has_room(self) -> bool:
        """Tell whether the bodies leave room; what they take is looked up now and then, and before a no."""
        now = asyncio.get_running_loop().time()
        if now - self._looked >= self._look_every or self._stored >= self._budget:
            self._stored, self._looked = await self._database.read(kept.stored_bytes), now
        return self._stored < self._budget

    async def _consume(self) -> None:
        """Record what comes, for as long as there is room. In the end the queue gets back what is unacked."""
        arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        consumer = Consumer(self._connection)
        await consumer.start(DEADLETTERS, prefetch=PREFETCH, on_delivery=arrived.put_nowait)
        try:
            while await self._has_room():
                await self._record(await _gathered(arrived))
        finally:
            await consumer.stop()

    async def _record(self, batch: Iterable[Delivery]) -> None:
        """Record a batch, no letter before its body, and ack it; in parts if the bodies are large."""
        entries = await self._entries(batch)
        wanted = {entry.row.claim_id for entry in entries if entry.row.claim_id is not None}
        have = set(await self._database.read(lambda sql: kept.has(sql, wanted)))
        gone: dict[str, ClaimError] = {}
        ready: list[_Entry] = []
        claims: list[KeptClaim] = []
        for some, missing in _waves(entries, have):
            claims += await self._copies.take(missing, gone)
            self._report(some, gone)
            ready += some
            if sum(claim.stored for claim in claims) >= MAX_BYTES:
                await self._commit(ready, claims, have)
                have.update(claim.claim_id for claim in claims)
                ready, claims = [], []
        if ready:
            await self._commit(ready, claims, have)

    async def _entries(self, batch: Iterable[Delivery]) -> list[_Entry]:
        """Return what is to be recorded. Void deliveries come again by themselves."""
        found = [(delivery, delivery.letter()) for delivery in batch if not delivery.void]
        named = {letter.endpoint for _, letter in found if letter.endpoint and _is_id(letter.endpoint)}
        if asked := named - self._participants.keys():
            if len(self._participants) > REMEMBERED:
                self._participants.clear()
                asked = named
            self._participants |= await self._database.read(lambda sql: _participants_of(sql, asked))
        now = datetime.now(UTC)
        return [
            _Entry(delivery, *row_of(letter, self._participants.get(letter.endpoint or ""), now))
            for delivery, letter in found
        ]

    def _report(self, entries: Iterable[_Entry], gone: Mapping[str, ClaimError]) -> None:
        """Raise the alarm for letters whose body is gone."""
        for _, row, _ in entries:
            why = gone.get(row.claim_id or "")
            if why is not None:
                self._metrics.bodies_missing.inc()
                _log.error("letter without its body", **_names(row), reason=why.reason)

    async def _commit(self, entries: Sequence[_Entry], claims: Sequence[KeptClaim], have: Set[str]) -> None:
        """Write letters with their bodies in one transaction, then ack them; ``have``: bodies kept before.

        Raises UnavailableError. A letter that the database refuses for itself does not stop the others: it
        stays unacked, until RabbitMQ delivers it again.
        """
        try:
            new = await self._database.run(partial(_write, entries=entries, claims=claims, have=have))
        except UnavailableError:
            raise
        except Exception as refused:  # noqa: BLE001 - whatever one letter did must not stop the others
            if len(entries) == 1:
                _log.exception("letter refused", **_names(entries[0].row), next="stays in the queue")
                return
            _log.warning("batch refused", letters=len(entries), reason=str(refused), next="one by one")
            for entry in entries:
                own = [claim for claim in claims if claim.claim_id == entry.row.claim_id]
                await self._commit([entry], own, have)
        else:
            for delivery, row, _ in entries:
                delivery.ack()
                _log.info("letter recorded", **_names(row))
            self._pause = SHORTEST_PAUSE
            self._stored += sum(claim.stored for claim in claims)
            self._metrics.recorded.inc(new)


async def _gathered(arrived: "asyncio.Queue[Delivery]") -> list[Delivery]:
    """Wait for a delivery, and a moment for others."""
    batch = [await arrived.get()]
    with suppress(TimeoutError):
        async with asyncio.timeout(GATHERING):
            while len(batch) < MAX_BATCH:
                batch.append(await arrived.get())
    return batch


def _waves(entries: Iterable[_Entry], have: Iterable[str]) -> Iterator[tuple[list[_Entry], dict[str, int]]]:
    """Cut a batch so that few claims are missing in each piece: these, with the seconds of their expiry."""
    seen = set(have)
    wave: list[_Entry] = []
    missing: dict[str, int] = {}
    for entry in entries:
        claim_id = entry.row.claim_id
        if claim_id is not None and claim_id not in seen:
            if len(missing) == READ_AT_ONCE:
                yield wave, missing
                wave, missing = [], {}
            seen.add(claim_id)
            missing[claim_id] = entry.row.expires or 0
        wave.append(entry)
    yield wave, missing


def _write(
    sql: "sqlalchemy.Connection", *, entries: Sequence[_Entry], claims: Sequence[KeptClaim], have: Set[str]
) -> int:
    """Record bodies and letters; return how many letters are new. Raises _SweptError."""
    rows = [entry.row for entry in entries]
    relied_on = have & {row.claim_id for row in rows if row.claim_id is not None}
    if relied_on and kept.has(sql, relied_on, hold=True) != relied_on:
        raise _SweptError("a body that was kept has been swept meanwhile")
    return letters.record(sql, rows, {entry.group for entry in entries}, claims)


def _is_id(text: str) -> bool:
    """Tell whether it may be an endpoint's: anybody's words may stand there."""
    return len(text) <= LONGEST_ID and text.isascii() and text.isprintable()


def _participants_of(sql: "sqlalchemy.Connection", ids: Iterable[str]) -> dict[str, str | None]:
    """Return whose endpoints these are; None for one that was never there."""
    found: dict[str, str | None] = dict.fromkeys(ids)
    for endpoint_id in found:
        with suppress(NotFoundError):
            found[endpoint_id] = endpoints.get(sql, endpoint_id).participant_id
    return found


def _names(row: DeadLetter) -> dict[str, object]:
    """Return what log lines say of a letter."""
    return {
        "endpoint": row.endpoint_id,
        "message_id": row.message_id,
        "claim_id": row.claim_id,
        "cause": row.cause,
    }
