"""The database locked by another process, full, away."""

import asyncio
import random
import sqlite3

from tests.chaos.disk import fill
from tests.chaos.fault import Fault
from tests.chaos.house import House

LOCKED_FOR = 8.0
FULL_FOR = (3.0, 5.0)
AWAY_FOR = (2.0, 5.0)
"""Seconds."""


async def locked(house: House, chance: random.Random) -> None:
    other = sqlite3.connect(house.database_file, isolation_level=None, timeout=30)
    try:
        other.execute("BEGIN EXCLUSIVE")
        await asyncio.sleep(LOCKED_FOR)
        other.rollback()
    finally:
        other.close()


async def full(house: House, chance: random.Random) -> None:
    ballast = house.database_file.with_name("ballast")
    fill(ballast)
    await asyncio.sleep(chance.uniform(*FULL_FOR))
    ballast.unlink()


async def away(house: House, chance: random.Random) -> None:
    assert house.postgres is not None
    await asyncio.to_thread(house.postgres.stop)
    await asyncio.sleep(chance.uniform(*AWAY_FOR))
    await asyncio.to_thread(house.postgres.start)


async def crashed(house: House, chance: random.Random) -> None:
    assert house.postgres is not None
    await asyncio.to_thread(house.postgres.kill)
    await asyncio.sleep(chance.uniform(0, 2))
    await asyncio.to_thread(house.postgres.start)


FAULTS = (
    Fault("database-locked", "SQLite locked by another process for 8 s", locked, short=True),
    Fault("database-full", "no room on the disk of SQLite", full, disk=32),
    Fault("database-away", "PostgreSQL stopped and started", away, database="postgresql"),
    Fault("database-killed", "PostgreSQL killed and started", crashed, database="postgresql"),
)
