"""Rule 3: each change of an outage is won once, stays pending until it is done, and sequences only grow."""

import asyncio
import random
from datetime import timedelta

import pytest

from claimstore.connection import Connection
from claimstore.errors import StaleSnapshotError
from claimstore.memory import BATCH, Decision, OutageMemory, Pending, Remembered
from tests.waiting import eventually


@pytest.fixture
def memory(connection: Connection) -> OutageMemory:
    return OutageMemory(connection, "oms")


def change(mrid: str, expected: int, record: bytes = b"record", *, present: bool = True) -> Decision:
    return Decision(mrid, expected, record, present, event=f"{mrid} is {expected + 1}".encode())


async def test_what_was_won_is_remembered_and_pending_until_done(memory: OutageMemory) -> None:
    assert await memory.recall() == {}
    decisions = [change("a", 0, b"1:+-\n\0\xff"), change("b:c", 0, b"")]
    assert await memory.commit(1, decisions) == [Pending("a", 1, b"a is 1"), Pending("b:c", 1, b"b:c is 1")]
    assert await memory.recall() == {
        "a": Remembered(1, present=True, record=b"1:+-\n\0\xff"),
        "b:c": Remembered(1, present=True, record=b""),
    }
    assert await memory.pending() == [Pending("a", 1, b"a is 1"), Pending("b:c", 1, b"b:c is 1")]
    await memory.done([change("a", 0).change])
    assert await memory.pending() == [Pending("b:c", 1, b"b:c is 1")]


async def test_a_change_based_on_an_old_sequence_is_lost(memory: OutageMemory) -> None:
    await memory.commit(1, [change("a", 0)])
    assert await memory.commit(1, [change("a", 0, b"late"), change("b", 3)]) == []
    assert await memory.recall() == {"a": Remembered(1, present=True, record=b"record")}
    assert len(await memory.pending()) == 1


async def test_a_departed_outage_keeps_its_sequence(memory: OutageMemory) -> None:
    await memory.commit(1, [change("a", 0)])
    await memory.commit(2, [change("a", 1, b"", present=False)])
    assert await memory.recall() == {"a": Remembered(2, present=False, record=b"")}
    assert await memory.commit(3, [change("a", 0)]) == []
    await memory.commit(3, [change("a", 2)])
    assert [pending.sequence for pending in await memory.pending()] == [1, 2, 3]


async def test_who_wins_a_change_is_given_those_pending_before_it(memory: OutageMemory) -> None:
    await memory.commit(1, [change("a", 0), change("b", 0), change("c", 0)])
    await memory.commit(2, [change("a", 1)])
    await memory.done([change("b", 0).change])
    given = await memory.commit(3, [change("a", 2), change("b", 1), change("c", 7)])
    assert [(one.mrid, one.sequence) for one in given] == [("a", 1), ("a", 2), ("a", 3), ("b", 2)]
    assert [one.event for one in given[:2]] == [b"a is 1", b"a is 2"]
    assert len(await memory.pending()) == 5, "they stay pending until they are done"


async def test_sequences_beyond_ten_stay_in_order(memory: OutageMemory) -> None:
    for sequence in range(12):
        await memory.commit(sequence, [change("a", sequence)])
    assert [pending.sequence for pending in await memory.pending()] == list(range(1, 13))


async def test_two_watchers_at_once_win_each_change_once(memory: OutageMemory) -> None:
    outages = [f"outage-{number}" for number in range(3 * BATCH + 1)]

    async def watch(seed: int) -> list[Pending]:
        decisions = [change(mrid, 0) for mrid in outages]
        random.Random(seed).shuffle(decisions)
        return await memory.commit(7, decisions)

    won = [change for watcher in await asyncio.gather(*map(watch, range(4))) for change in watcher]
    assert sorted(won) == sorted(Pending(mrid, 1, f"{mrid} is 1".encode()) for mrid in outages)
    assert await memory.pending() == sorted(won)
    await memory.done(won)
    assert await memory.pending() == []


async def test_a_slow_watcher_cannot_undo_a_newer_snapshot(memory: OutageMemory) -> None:
    await memory.commit(10, [change("a", 0)])
    await memory.commit(20, [])  # nothing changed, but it was seen
    with pytest.raises(StaleSnapshotError, match="snapshot 15 is older than 20"):
        await memory.commit(15, [change("a", 1, b"older")])
    with pytest.raises(StaleSnapshotError):
        await memory.commit(19, [])
    assert await memory.recall() == {"a": Remembered(1, present=True, record=b"record")}
    assert await memory.commit(20, [change("a", 1)])


async def test_the_other_watcher_takes_only_what_was_left_for_long(memory: OutageMemory) -> None:
    await memory.commit(1, [change("a", 0), change("b", 0)])
    assert await memory.pending(older_than=timedelta(minutes=1)) == []
    patience = timedelta(milliseconds=200)
    taken = await eventually(lambda: memory.pending(older_than=patience))
    assert [pending.mrid for pending in taken] == ["a", "b"]
    assert await memory.pending(older_than=timedelta(minutes=1)) == []
    assert len(await memory.pending()) == 2


async def test_what_is_pending_of_an_outage_is_taken_together(memory: OutageMemory) -> None:
    await memory.commit(1, [change("a", 0)])
    await asyncio.sleep(0.1)  # it gets older than what follows
    await memory.commit(2, [change("a", 1)])
    taken = await eventually(lambda: memory.pending(older_than=timedelta(milliseconds=200)), every=0.005)
    assert [pending.sequence for pending in taken] == [1, 2]


async def test_of_two_that_take_what_was_left_one_gets_it(memory: OutageMemory) -> None:
    await memory.commit(1, [change(f"outage-{number}", 0) for number in range(50)])
    patience = timedelta(milliseconds=500)
    taken: list[Pending] = []

    async def all_taken() -> bool:
        for found in await asyncio.gather(*(memory.pending(older_than=patience) for _ in range(5))):
            taken.extend(found)
        return bool(taken)

    await eventually(all_taken)
    assert len(taken) == len(set(taken)) == 50


async def test_feeds_do_not_see_each_other(connection: Connection) -> None:
    generation, transmission = (
        OutageMemory(connection, "generation"),
        OutageMemory(connection, "transmission"),
    )
    await generation.commit(9, [change("a", 0)])
    assert await transmission.commit(1, [change("a", 0)])
    assert len(await generation.pending()) == 1


async def test_thousands_of_outages_are_recalled_in_pages(memory: OutageMemory) -> None:
    await memory.commit(1, [change(str(number), 0) for number in range(4000)])
    recalled = await memory.recall()
    assert len(recalled) == 4000
    assert set(recalled.values()) == {Remembered(1, present=True, record=b"record")}
    await memory.done(await memory.pending())
