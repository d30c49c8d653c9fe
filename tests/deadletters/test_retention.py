"""Bodies go after a while, rows later; one process at a time sweeps."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from claimbus.database import kept, letters, replays
from claimbus.database.audit import Act
from claimbus.database.kept import KeptClaim
from claimbus.database.letters import EVERYTHING
from claimbus.deadletters.retention import LEASE, Retention, Swept
from claimbus.deadletters.row import row_of
from claimbus.events.event import ALL
from claimstore.leases import Leases
from tests.consumers.house import House
from tests.deadletters.backlog import letter
from tests.waiting import eventually

NOTHING: tuple[set[str | None], frozenset[str]] = (set(), frozenset())


def retention(house: House, leases: Leases | None = None) -> Retention:
    return Retention(
        house.database,
        leases or Leases(house.store.connection),
        name="one",
        letters_kept=timedelta(days=30),
        rows_kept=timedelta(days=90),
        sweep_every=0.05,
    )


async def died(house: House, days_ago: int) -> str:
    """Record a letter of that time, with its body; return the claim's ID."""
    given_up = await letter(house, "ep_1", house.event())
    claim_id, at = given_up.body.decode(), datetime.now(UTC) - timedelta(days=days_ago)
    row, group = row_of(given_up, None, at)
    body = KeptClaim(claim_id, ALL, 2, 7, 1, at, b"record")
    await house.database.run(lambda sql: kept.write_chunk(sql, claim_id, 0, b"x", at))
    await house.database.run(lambda sql: letters.record(sql, [row], [group], [body]))
    return claim_id


async def left(house: House) -> tuple[set[str | None], frozenset[str]]:
    """The claim IDs of the letters, and of the bodies, that are there."""
    page = await house.database.read(lambda sql: letters.find(sql, EVERYTHING))
    claims = {row.claim_id for row in page.rows}
    return claims, await house.database.read(lambda sql: kept.has(sql, [one or "" for one in claims]))


async def test_bodies_are_kept_for_a_month_and_rows_for_three(house: House) -> None:
    young, month, season, _ = [await died(house, days) for days in (29, 31, 89, 91)]
    assert await retention(house).sweep() == Swept(bodies=3, letters=1, items=0)
    assert await left(house) == ({young, month, season}, frozenset({young}))
    assert await retention(house).sweep() == Swept(bodies=0, letters=0, items=0)
    assert await house.database.read(kept.stored_bytes) == 7


async def test_replays_that_ended_long_ago_are_forgotten(house: House) -> None:
    await died(house, 100)
    then = Act("operator", at=datetime.now(UTC) - timedelta(days=95))

    def cancelled(sql: Connection) -> None:
        ids = letters.select_ids(sql, EVERYTHING)
        job = replays.create(sql, ids, then, selection={}, rate=None, canary=True)
        replays.cancel(sql, job.id, then)

    await house.database.run(cancelled)
    assert await retention(house).sweep() == Swept(bodies=1, letters=1, items=1)
    assert (await house.database.read(replays.find)).rows == ()


class Asked(Leases):
    """Leases that count how often they were asked for."""

    times = 0

    async def take(self, task: str, owner: str, *, seconds: float) -> bool:
        taken = await super().take(task, owner, seconds=seconds)
        self.times += 1
        return taken


async def test_one_process_sweeps_at_a_time_and_another_when_that_is_gone(house: House) -> None:
    await died(house, 91)
    leases = Asked(house.store.connection)
    await leases.take(LEASE, "another", seconds=60)
    running = asyncio.create_task(retention(house, leases).run())
    try:
        await eventually(lambda: leases.times == 3)
        assert await left(house) != NOTHING
        await leases.give_back(LEASE, "another")

        async def is_swept() -> bool:
            return await left(house) == NOTHING

        await eventually(is_swept)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
