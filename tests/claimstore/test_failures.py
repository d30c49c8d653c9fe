"""A store that cannot be used says why, within its time, and goes on by itself when Redis does."""

import asyncio
import signal
import time

import pytest

from claimbus.events.errors import ConfigurationError, UnavailableError
from claimstore import ClaimStore
from claimstore.connection import Connection
from claimstore.errors import StoreFullError, StoreUnavailableError
from claimstore.holds import Holds
from claimstore.memory import Decision, OutageMemory
from tests.claimstore.private import PrivateRedis, free_port
from tests.claimstore.samples import JSON_BODY, an_event, noise
from tests.waiting import eventually


async def test_claims_survive_a_crash_of_redis(private_redis: PrivateRedis) -> None:
    async with await ClaimStore.open(private_redis.url, cache=0) as store:
        places = await store.check_in_many([an_event() for _ in range(50)])
        large = await store.check_in(an_event(body=noise(1_500_000)))
        private_redis.kill()
        with pytest.raises(StoreUnavailableError):
            await store.redeem(places[0].claim_id, expires=places[0].expires)
        private_redis.start()

        async def back() -> bool:
            try:
                await store.ping()
            except StoreUnavailableError:
                return False
            return True

        await eventually(back)
        for place in places:
            assert (await store.redeem(place.claim_id, expires=place.expires)).event.body == JSON_BODY
        claim = await store.redeem(large.claim_id, expires=large.expires)
        assert b"".join([piece async for piece in store.body(claim)]) == noise(1_500_000)


async def test_a_full_store_refuses_check_ins_and_still_redeems(private_redis: PrivateRedis) -> None:
    async with await ClaimStore.open(private_redis.url, cache=0) as store:
        place = await store.check_in(an_event())
        await store.connection.ask("CONFIG", "SET", "maxmemory", 1)
        for event in (an_event(), an_event(body=noise(1_500_000))):
            with pytest.raises(StoreFullError, match="maxmemory"):
                await store.check_in(event)
        assert (await store.redeem(place.claim_id, expires=place.expires)).event.body == JSON_BODY
        await store.connection.ask("CONFIG", "SET", "maxmemory", 0)
        await store.check_in(an_event())
    assert issubclass(StoreFullError, UnavailableError)


async def test_a_full_store_does_nothing_by_halves_and_can_still_forget(private_redis: PrivateRedis) -> None:
    async with await Connection.open(private_redis.url) as connection:
        memory, holds = OutageMemory(connection, "oms"), Holds(connection, threshold=1)
        first, second = (Decision(mrid, 0, b"", present=True, event=b"event") for mrid in ("first", "second"))
        await memory.commit(1, [first])
        assert (await holds.failed("endpoint")).begins
        await connection.ask("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(StoreFullError):
            await memory.commit(2, [second])
        await memory.done([first.change])
        assert await holds.succeeded("endpoint")
        await connection.ask("CONFIG", "SET", "maxmemory", 0)
        assert list(await memory.recall()) == ["first"]
        assert await memory.pending() == []
        assert [won.event for won in await memory.commit(1, [second])] == [second.event]


async def test_a_redis_that_hangs_is_unavailable_to_everybody_in_time(private_redis: PrivateRedis) -> None:
    async with await ClaimStore.open(private_redis.url, answer_within=1, connections=1) as store:
        private_redis.signal(signal.SIGSTOP)
        async with asyncio.timeout(20):  # fifty batches one after the other would take fifty seconds
            answers = await asyncio.gather(
                *(store.check_in(an_event()) for _ in range(5000)), return_exceptions=True
            )
        assert {type(answer) for answer in answers} == {StoreUnavailableError}
        private_redis.signal(signal.SIGCONT)
        await store.check_in(an_event())


async def test_a_replica_is_unavailable_for_check_ins(private_redis: PrivateRedis) -> None:
    async with await ClaimStore.open(private_redis.url) as store:
        await store.connection.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        with pytest.raises(StoreUnavailableError, match="replica"):
            await store.check_in(an_event())
        await store.connection.ask("REPLICAOF", "NO", "ONE")
        await store.check_in(an_event())


async def test_opening_waits_for_a_redis_that_is_still_loading(private_redis: PrivateRedis) -> None:
    async with await Connection.open(private_redis.url) as connection:
        await connection.ask_many(("SET", f"key:{number}", "value") for number in range(10_000))
    private_redis.kill()
    private_redis.start("--key-load-delay", "150", "--loading-process-events-interval-bytes", "1024")
    private_redis.wait()
    with pytest.raises(StoreUnavailableError, match="loading"):
        await Connection.open(private_redis.url, connect_within=0)
    async with await Connection.open(private_redis.url) as connection:
        assert await connection.ask("DBSIZE") == 10_000


async def test_opening_gives_up_in_time_and_tells_where_it_tried() -> None:
    port = free_port()
    before = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=f"127.0.0.1:{port}"):
        await ClaimStore.open(f"redis://127.0.0.1:{port}/0", connect_within=0.3)
    assert time.monotonic() - before < 30


async def test_a_wrong_password_stops_the_start_without_telling_it(private_redis: PrivateRedis) -> None:
    async with await Connection.open(private_redis.url) as connection:
        await connection.ask("CONFIG", "SET", "requirepass", "right-secret")
    for user in ("", ":wrong-secret@"):
        with pytest.raises(ConfigurationError, match="redis_url: Redis refuses") as refused:
            await Connection.open(private_redis.url.replace("//", f"//{user}"), connect_within=600)
        assert "secret" not in str(refused.value)
    async with await Connection.open(private_redis.url.replace("//", "//:right-secret@")) as connection:
        assert await connection.ask("PING") == b"PONG"


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "redis://:p4ss:w0rd@localhost:x/0"])
async def test_what_is_no_redis_url_stops_the_start(url: str) -> None:
    with pytest.raises(ConfigurationError, match="redis_url") as refused:
        await Connection.open(url)
    assert "w0rd" not in str(refused.value)


async def test_a_prefix_with_braces_stops_the_start(redis_url: str) -> None:
    with pytest.raises(ConfigurationError, match="key_prefix"):
        await Connection.open(redis_url, prefix="{mine}:")
