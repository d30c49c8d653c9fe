"""Workers say that they are there; who stops is forgotten at once, and who falls silent in time."""

import asyncio
from datetime import timedelta

from claimstore.connection import Connection
from claimstore.presence import Presence
from tests.waiting import eventually


async def test_workers_know_of_each_other(connection: Connection) -> None:
    presence = Presence(connection)
    assert await presence.note("first") == {"first"}
    assert await presence.note("second") == {"first", "second"}
    assert await presence.note("first") == {"first", "second"}


async def test_workers_that_come_at_once_all_count(connection: Connection) -> None:
    presence = Presence(connection)
    names = {f"worker-{number}" for number in range(40)}
    await asyncio.gather(*map(presence.note, names))
    assert await presence.note("worker-0") == names


async def test_who_stops_is_forgotten_at_once(connection: Connection) -> None:
    presence = Presence(connection)
    await presence.note("first")
    await presence.note("second")
    await presence.leave("first")
    await presence.leave("a stranger")
    assert await presence.note("second") == {"second"}


async def test_who_falls_silent_is_forgotten_and_who_does_not_stays(connection: Connection) -> None:
    long, short = Presence(connection), Presence(connection, life=timedelta(milliseconds=200))
    await short.note("dead")

    async def alone() -> bool:
        return await long.note("alive") == {"alive"}

    assert not await alone()
    await eventually(alone)


async def test_a_clock_that_was_set_back_keeps_no_dead_worker_alive(connection: Connection) -> None:
    presence = Presence(connection, life=timedelta(milliseconds=200))
    await connection.ask("ZADD", f"{connection.prefix}workers", 2**50, "dead")

    async def alone() -> bool:
        return await presence.note("alive") == {"alive"}

    assert not await alone()
    await eventually(alone)


async def test_nothing_is_left_when_all_are_silent(connection: Connection) -> None:
    presence = Presence(connection, life=timedelta(milliseconds=100))
    await presence.note("dead")

    async def gone() -> bool:
        return not await connection.ask("EXISTS", f"{connection.prefix}workers")

    await eventually(gone)
