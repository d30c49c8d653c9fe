"""A watcher's memory: encrypted if there are keys, each thing for itself, and rekeyed while it goes on."""

import asyncio
from collections.abc import Sequence

import pytest

from claimbus.events.sealing import NO_KEYS, BrokenBoxError, Keys
from claimstore import memory_keys
from claimstore.connection import Connection, Part, Reply
from claimstore.errors import ClaimKeyMissingError
from claimstore.memory import Decision, OutageMemory, Pending, Remembered
from claimstore.script import Script
from tests.events.keys import NEW, OLD, keys

BEFORE, AFTER, REQUIRED = keys(OLD), keys(NEW, OLD), keys(NEW, OLD, required=True)
SECRET = b"SUNRIV \0\n is OUT"


def memory(connection: Connection, with_keys: Keys = NO_KEYS, feed: str = "oms") -> OutageMemory:
    return OutageMemory(connection, feed, with_keys)


def change(mrid: str, expected: int = 0, *, present: bool = True) -> Decision:
    return Decision(mrid, expected, SECRET, present, event=SECRET + mrid.encode())


async def stored(connection: Connection) -> dict[str, bytes]:
    """All values of the feed: records by their MRID, events by sequence and MRID."""
    key = f"{connection.prefix}outages:{{oms}}"
    found = [*await connection.ask("HGETALL", key), *await connection.ask("HGETALL", f"{key}:pending")]
    return dict(zip(map(bytes.decode, found[::2]), found[1::2], strict=True))


async def test_what_is_remembered_is_encrypted_and_goes_on_after_a_rotation(connection: Connection) -> None:
    clear, before, after = (memory(connection, one) for one in (NO_KEYS, BEFORE, AFTER))
    await clear.commit(1, [change("a")])
    await before.commit(2, [change("b")])
    assert await after.commit(3, [change("c")]) == [Pending("c", 1, SECRET + b"c")]
    assert await after.recall() == {mrid: Remembered(1, present=True, record=SECRET) for mrid in "abc"}
    taken = await after.commit(4, [change("b", 1, present=False)])
    assert taken == [Pending("b", 1, SECRET + b"b"), Pending("b", 2, SECRET + b"b")]
    assert [(one.mrid, one.sequence) for one in await after.pending()] == [
        ("a", 1),
        ("b", 1),
        ("b", 2),
        ("c", 1),
    ]
    in_clear = {name for name, value in (await stored(connection)).items() if b"SUNRIV" in value}
    assert in_clear == {"a", "1:a"}, "what was there in clear stays so until it changes"


async def test_without_its_key_it_waits(connection: Connection) -> None:
    await memory(connection, BEFORE).commit(1, [change("b")])
    for present in (NO_KEYS, keys(NEW)):
        for asking in (memory(connection, present).recall(), memory(connection, present).pending()):
            with pytest.raises(ClaimKeyMissingError, match="outage feed oms is encrypted with key old"):
                await asking
    assert await memory(connection, BEFORE).pending() == [Pending("b", 1, SECRET + b"b")]


async def test_no_record_or_event_passes_for_that_of_another_outage_or_sequence(
    connection: Connection,
) -> None:
    ours, key = memory(connection, BEFORE), f"{connection.prefix}outages:{{oms}}"
    await ours.commit(1, [change("a"), change("b")])
    await ours.commit(2, [change("a", 1)])
    known = await stored(connection)
    await connection.ask("HSET", key, "b", known["a"])
    with pytest.raises(BrokenBoxError, match="outage feed oms is not what was encrypted"):
        await ours.recall()
    await connection.ask("HSET", f"{key}:pending", "2:a", known["1:a"])
    with pytest.raises(BrokenBoxError):
        await ours.pending()


async def test_what_lies_in_clear_is_refused_once_keys_are_required(connection: Connection) -> None:
    required = memory(connection, REQUIRED)
    await required.commit(1, [change("b")])
    assert (await required.recall())["b"].record == SECRET
    await memory(connection).commit(2, [change("a")])
    for asking in (required.recall(), required.pending(), required.commit(3, [change("a", 1)])):
        with pytest.raises(BrokenBoxError, match="lies in clear, which CLAIMBUS_ENCRYPTION_REQUIRED refuses"):
            await asking
    await memory_keys.rekey(connection, AFTER)
    assert len(await required.pending()) == 3


async def test_it_is_rekeyed_with_all_feeds_and_counted(connection: Connection) -> None:
    many = [change(f"m:{number}") for number in range(1200)]
    for feed, present in (("oms", NO_KEYS), ("oms", BEFORE), ("west", BEFORE)):
        known = await memory(connection, AFTER, feed).recall()
        await memory(connection, present, feed).commit(
            1, [one for one in many if one.mrid not in known][:600]
        )
    assert await memory_keys.by_key(connection) == {None: 1200, BEFORE.first: 2400}
    await memory_keys.rekey(connection, NO_KEYS)
    with pytest.raises(ClaimKeyMissingError):
        await memory_keys.rekey(connection, keys(NEW))
    assert (await memory_keys.by_key(connection))[BEFORE.first] == 2400
    await memory_keys.rekey(connection, AFTER)
    assert await memory_keys.by_key(connection) == {AFTER.first: 3600}
    only_new = memory(connection, keys(NEW, required=True))
    assert {one.record for one in (await only_new.recall()).values()} == {SECRET}
    assert {one.event for one in await only_new.pending()} == {SECRET + one.mrid.encode() for one in many}


async def test_what_a_watcher_writes_between_is_not_overwritten(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher, replace = memory(connection, BEFORE), memory_keys._REPLACE
    await watcher.commit(1, [change("a")])
    came = False

    class Late(Script):
        """Comes when the watcher has been there."""

        async def run(
            self, connection: Connection, keys: Sequence[str], *arguments: Part, **how: bool
        ) -> Reply:
            nonlocal came
            if not came:
                came = True
                await watcher.commit(2, [change("a", 1)])
            return await replace.run(connection, keys, *arguments, **how)

    monkeypatch.setattr(memory_keys, "_REPLACE", Late(""))
    await memory_keys.rekey(connection, AFTER)
    assert (await memory(connection, AFTER).recall())["a"].sequence == 2
    assert [one.sequence for one in await memory(connection, keys(NEW)).pending()] == [1, 2]


async def test_nothing_is_lost_while_a_watcher_goes_on(connection: Connection) -> None:
    watcher, mrids = memory(connection, AFTER), [f"m{number}" for number in range(50)]
    await memory(connection).commit(1, [change(mrid) for mrid in mrids])

    async def watch() -> None:
        for sequence in range(1, 20):
            await watcher.commit(1 + sequence, [change(mrid, sequence) for mrid in mrids])
            await watcher.done(change(mrid, sequence - 1).change for mrid in mrids)

    await asyncio.gather(watch(), *(memory_keys.rekey(connection, AFTER) for _ in range(3)))
    assert {one.sequence for one in (await watcher.recall()).values()} == {20}
    assert [(one.mrid, one.sequence) for one in await watcher.pending()] == [
        (one, 20) for one in sorted(mrids)
    ]
    assert set(await memory_keys.by_key(connection)) == {AFTER.first}


async def test_what_no_watcher_wrote_is_told(connection: Connection) -> None:
    await connection.ask("HSET", f"{connection.prefix}outages:{{oms}}", "a", "nonsense")
    with pytest.raises(BrokenBoxError, match="is not what a watcher remembers"):
        await memory_keys.by_key(connection)
