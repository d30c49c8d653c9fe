"""What is checked in can be redeemed until it expires, and reading consumes nothing."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from claimbus.events.event import ALL
from claimstore import ClaimStore, new_claim_id
from claimstore.connection import Connection
from claimstore.errors import BodyTooLargeError, ClaimCorruptError, ClaimExpiredError, ClaimMissingError
from claimstore.glance import Glance
from claimstore.writing import INLINE
from tests.claimstore.private import PrivateRedis
from tests.claimstore.samples import JSON_BODY, an_event, keys, noise
from tests.waiting import eventually


async def test_what_is_checked_in_can_be_redeemed_again_and_again(store: ClaimStore) -> None:
    event = an_event()
    claim_id, expires = await store.check_in(event)
    for _ in range(3):
        claim = await store.redeem(claim_id, expires=expires)
        assert (claim.id, claim.event, claim.expires) == (claim_id, event, expires)


async def test_a_claim_lives_for_its_life(connection: Connection) -> None:
    store = ClaimStore(connection, life=timedelta(hours=2))
    before = int(time.time())
    claim_id, expires = await store.check_in(an_event())
    assert before <= expires - 7200 <= time.time()
    stat = await store.stat(claim_id)
    assert stat is not None
    assert stat.expires == expires


async def test_the_key_is_the_claim_id_as_a_hash_tag(store: ClaimStore) -> None:
    small, large = an_event(), an_event(body=noise(INLINE + 1))
    expected = set()
    for event, chunks in ((small, 0), (large, 5)):
        claim_id, _ = await store.check_in(event)
        key = f"{store.connection.prefix}claim:{{{claim_id}}}".encode()
        expected |= {key, *(key + b":%d" % number for number in range(chunks))}
    assert await keys(store.connection) == expected


async def test_claim_ids_are_random_and_safe_in_urls() -> None:
    ids = {new_claim_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{24}", claim_id) for claim_id in ids)  # 24 * 6 = 144 bits


async def test_the_producer_may_choose_the_claim_id(store: ClaimStore) -> None:
    claim_id = new_claim_id()
    assert (await store.check_in(an_event(), claim_id=claim_id)).claim_id == claim_id


async def test_thousands_can_be_checked_in_and_redeemed_at_once(store: ClaimStore) -> None:
    events = [an_event(sequence=number, audience=ALL) for number in range(3000)]
    places = await asyncio.gather(*map(store.check_in, events))
    claims = await asyncio.gather(*(store.redeem(claim_id, expires=when) for claim_id, when in places))
    assert [claim.event for claim in claims] == events


async def test_many_come_back_in_their_order(store: ClaimStore) -> None:
    events = [an_event(body=noise(size, seed=size)) for size in (0, 10, 3 * INLINE, 2000)]
    places = await store.check_in_many(events)
    for event, (claim_id, expires) in zip(events, places, strict=True):
        claim = await store.redeem(claim_id, expires=expires)
        assert b"".join([piece async for piece in store.body(claim)]) == event.body


async def test_one_body_that_is_too_large_refuses_all_of_many(connection: Connection) -> None:
    store = ClaimStore(connection, max_body=2000)
    with pytest.raises(BodyTooLargeError, match=r"body: has 2,001 bytes or more; the limit is 2,000"):
        await store.check_in_many([an_event(), an_event(body=bytes(2001))])
    assert await keys(connection) == set()


async def test_concurrent_redeems_of_one_claim_share_one_read(private_redis: PrivateRedis) -> None:
    async with await ClaimStore.open(private_redis.url, cache=0) as store:
        claim_id, expires = await store.check_in(an_event())
        await asyncio.gather(*(store.redeem(claim_id, expires=expires) for _ in range(500)))
        statistics = await store.connection.ask("INFO", "commandstats")
    assert b"cmdstat_get:calls=1," in statistics


async def test_a_worker_that_gives_up_does_not_spoil_the_read_for_the_others(store: ClaimStore) -> None:
    claim_id, expires = await store.check_in(an_event())
    first = asyncio.ensure_future(store.redeem(claim_id, expires=expires))
    second = asyncio.ensure_future(store.redeem(claim_id, expires=expires))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).event.body == JSON_BODY
    assert first.cancelled()


async def test_a_redeemed_claim_is_not_read_again(store: ClaimStore) -> None:
    claim_id, expires = await store.check_in(an_event())
    claim = await store.redeem(claim_id, expires=expires)
    await store.connection.ask("DEL", f"{store.connection.prefix}claim:{{{claim_id}}}")
    assert await store.redeem(claim_id, expires=expires) is claim
    assert (await store.redeem(claim_id, expires=expires + 9)).expires == expires + 9


async def test_without_a_cache_every_redeem_reads(connection: Connection) -> None:
    store = ClaimStore(connection, cache=0)
    claim_id, expires = await store.check_in(an_event())
    await store.redeem(claim_id, expires=expires)
    await connection.ask("DEL", f"{connection.prefix}claim:{{{claim_id}}}")
    with pytest.raises(ClaimMissingError):
        await store.redeem(claim_id, expires=expires)


async def test_a_claim_that_is_gone_after_its_time_has_expired(connection: Connection) -> None:
    store = ClaimStore(connection, life=timedelta(seconds=1))
    claim_id, expires = await store.check_in(an_event())

    async def gone() -> bool:
        return await store.stat(claim_id) is None

    await eventually(gone)
    with pytest.raises(ClaimExpiredError, match=claim_id):
        await store.redeem(claim_id, expires=expires)


async def test_a_claim_that_is_gone_before_its_time_is_missing(store: ClaimStore) -> None:
    claim_id, expires = await store.check_in(an_event())
    await store.connection.ask("DEL", f"{store.connection.prefix}claim:{{{claim_id}}}")
    with pytest.raises(ClaimMissingError, match=claim_id):
        await store.redeem(claim_id, expires=expires)
    assert await store.stat(claim_id) is None


async def test_a_claim_that_was_changed_is_corrupt(store: ClaimStore) -> None:
    claim_id, expires = await store.check_in(an_event(body=b"{}"))
    key = f"{store.connection.prefix}claim:{{{claim_id}}}"
    record = await store.connection.ask("GET", key)
    await store.connection.ask("SETRANGE", key, record.index(b"PGAE"), b"SCE2")
    with pytest.raises(ClaimCorruptError, match=claim_id):
        await store.redeem(claim_id, expires=expires)
    with pytest.raises(ClaimCorruptError):
        await store.stat(claim_id)


@pytest.mark.parametrize("size", [0, 2000, INLINE, INLINE + 1])
async def test_a_claim_put_back_is_the_same_claim(store: ClaimStore, size: int) -> None:
    event = an_event(body=noise(size))
    claim_id, expires = await store.check_in(event)
    record, *chunks = [part async for part in store.stored(claim_id, expires=expires)]
    key = f"{store.connection.prefix}claim:{{{claim_id}}}"
    await store.connection.ask("DEL", key, *(f"{key}:{n}" for n in range(len(chunks))))

    async def again() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    await store.check_in_record(claim_id, record, expires + 60, chunks=again())
    claim = await store.redeem(claim_id, expires=expires + 60)
    assert b"".join([piece async for piece in store.body(claim)]) == event.body
    assert claim.event.audience == event.audience
    stat = await store.stat(claim_id)
    assert stat is not None
    assert (stat.expires, stat.size, stat.chunks) == (expires + 60, size, len(chunks))


async def test_only_the_claims_own_record_is_put_back(store: ClaimStore) -> None:
    claim_id, expires = await store.check_in(an_event(body=noise(INLINE + 1)))
    record, *_ = [part async for part in store.stored(claim_id, expires=expires)]
    with pytest.raises(ClaimCorruptError):
        await store.check_in_record(new_claim_id(), record, expires)
    with pytest.raises(ClaimCorruptError, match="0 of its 5 chunks"):
        await store.check_in_record(claim_id, record, expires)


async def test_stat_tells_what_a_claim_is(store: ClaimStore) -> None:
    claim_id, expires = await store.check_in(an_event(body=b"[1]" * 100_000))
    stat = await store.stat(claim_id)
    assert stat is not None
    assert stat._replace(stored=0) == (300_000, 0, "zstd", 0, expires)
    assert 300 < stat.stored < 3000
    assert await store.stat(new_claim_id()) is None


async def test_a_glance_tells_of_many_claims_who_may_see_them_and_until_when(store: ClaimStore) -> None:
    many = frozenset(f"P{number}" for number in range(900))  # their names fill more than the first look
    events = [an_event(), an_event(audience=ALL), an_event(audience=many), an_event(body=noise(INLINE + 1))]
    places = await store.check_in_many([*events, an_event(), an_event()])
    lost, corrupt = (place.claim_id for place in places[4:])
    await store.connection.ask("DEL", f"{store.connection.prefix}claim:{{{lost}}}")
    await store.connection.ask("SETRANGE", f"{store.connection.prefix}claim:{{{corrupt}}}", 9, "corrupt")
    assert await store.glance(place.claim_id for place in places) == {
        place.claim_id: Glance(event.audience, 5 if event is events[3] else 0, place.expires)
        for event, place in zip(events, places, strict=False)
    }
    assert await store.glance([]) == {}


@pytest.mark.parametrize("size", [10, INLINE + 1])
async def test_a_claim_can_be_made_to_live_longer_and_never_shorter(store: ClaimStore, size: int) -> None:
    (claim_id, expires), (untouched, _) = await store.check_in_many([an_event(body=noise(size)), an_event()])
    seen = await store.glance([claim_id])

    async def expiries() -> set[int]:
        found = await keys(store.connection)
        names = [name for name in found if untouched.encode() not in name]
        return set(await store.connection.ask_many(("EXPIRETIME", name) for name in names))

    assert await store.prolong(seen, expires + 60) == {claim_id}
    assert await expiries() == {expires + 60}
    assert await store.prolong(seen, expires + 30) == {claim_id}
    assert await expiries() == {expires + 60}
    assert (await store.glance([untouched]))[untouched].expires == expires


async def test_a_claim_of_which_something_is_missing_is_not_prolonged(store: ClaimStore) -> None:
    places = await store.check_in_many([an_event(body=noise(INLINE + 1)), an_event()])
    seen = await store.glance(place.claim_id for place in places)
    (chunked, expires), (inline, _) = places
    key = f"{store.connection.prefix}claim:"
    await store.connection.ask_many([("DEL", f"{key}{{{chunked}}}:2"), ("DEL", f"{key}{{{inline}}}")])
    assert await store.prolong(seen, expires + 60) == frozenset()
    assert (await store.glance([chunked]))[chunked].expires == expires


async def test_the_store_answers_a_ping(store: ClaimStore) -> None:
    await store.ping()
