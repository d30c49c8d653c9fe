"""Bodies over the inline limit: streamed both ways, whole or not at all, with flat memory."""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimstore import ClaimStore
from claimstore.chunks import CHUNK, cut
from claimstore.connection import Connection
from claimstore.errors import BodyTooLargeError, ClaimCorruptError, ClaimExpiredError
from tests.claimstore.private import PrivateRedis
from tests.claimstore.samples import an_event, keys, noise
from tests.waiting import eventually


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def whole(store: ClaimStore, claim_id: str, expires: int) -> bytes:
    claim = await store.redeem(claim_id, expires=expires)
    return b"".join([piece async for piece in store.body(claim)])


@given(st.lists(st.integers(0, 3 * CHUNK), max_size=4))
@settings(max_examples=30)
def test_cutting_keeps_every_byte(sizes: list[int]) -> None:
    async def pieces() -> list[bytes]:
        body = stream(*(noise(size, seed=size) for size in sizes))
        return [piece async for piece in cut(body, limit=sum(sizes))]

    found = asyncio.run(pieces())
    assert b"".join(found) == b"".join(noise(size, seed=size) for size in sizes)
    assert all(len(piece) == CHUNK for piece in found[:-1])
    assert all(found)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
async def test_a_streamed_body_comes_back_whole(store: ClaimStore, size: int) -> None:
    for body in (noise(size), (b'{"status": "OUT"}' * size)[:size]):
        event = an_event(body=b"")
        place = await store.check_in_stream(event, stream(body[: size // 3], body[size // 3 :]))
        assert await whole(store, *place) == body
        claim = await store.redeem(place.claim_id, expires=place.expires)
        assert (claim.size, claim.sha256) == (size, hashlib.sha256(body).digest())
        assert claim.event.attributes() == event.attributes()
        stat = await store.stat(place.claim_id)
        assert stat is not None
        assert (stat.size, stat.chunks, stat.encoding) == (size, claim.chunks, claim.encoding)


async def test_record_and_chunks_expire_in_the_same_second(store: ClaimStore) -> None:
    claim_id, expires = await store.check_in_stream(an_event(body=b""), stream(noise(2 * CHUNK)))
    key = f"{store.connection.prefix}claim:{{{claim_id}}}"
    names = (key, f"{key}:0", f"{key}:1")
    assert await store.connection.ask_many(("EXPIRETIME", name) for name in names) == [expires] * 3


async def test_a_stream_over_the_limit_is_refused_and_leaves_nothing(connection: Connection) -> None:
    limit = 3 * CHUNK
    store = ClaimStore(connection, max_body=limit)
    await store.check_in_stream(an_event(body=b""), stream(noise(limit)))
    before = await keys(connection)
    with pytest.raises(BodyTooLargeError, match="the limit is 786,432"):
        await store.check_in_stream(an_event(body=b""), stream(noise(limit), b"!"))
    assert await keys(connection) == before


async def test_a_stream_that_breaks_off_leaves_nothing(store: ClaimStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield noise(3 * CHUNK)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.check_in_stream(an_event(body=b""), broken())
    assert await keys(store.connection) == set()


async def test_a_cancelled_stream_leaves_nothing(store: ClaimStore) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield noise(3 * CHUNK)
        await asyncio.Event().wait()

    publishing = asyncio.ensure_future(store.check_in_stream(an_event(body=b""), endless()))

    async def written() -> bool:
        return len(await keys(store.connection)) == 3

    await eventually(written)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert await keys(store.connection) == set()


async def test_the_last_piece_of_a_corrupt_body_never_comes(store: ClaimStore) -> None:
    body = noise(3 * CHUNK)
    claim_id, expires = await store.check_in_stream(an_event(body=b""), stream(body))
    await store.connection.ask("SETRANGE", f"{store.connection.prefix}claim:{{{claim_id}}}:1", 7, b"!!!!")
    claim = await store.redeem(claim_id, expires=expires)
    pieces = store.body(claim)
    received = len(await anext(pieces)) + len(await anext(pieces))
    with pytest.raises(ClaimCorruptError, match="SHA-256"):
        await anext(pieces)
    assert received < len(body)


@pytest.mark.parametrize("body", [noise(3 * CHUNK), bytes(3 * CHUNK)])
async def test_chunks_that_were_swapped_cut_or_prolonged_are_corrupt(store: ClaimStore, body: bytes) -> None:
    claim_id, expires = await store.check_in_stream(an_event(body=b""), stream(body[:-5]))
    claim = await store.redeem(claim_id, expires=expires)
    key = f"{store.connection.prefix}claim:{{{claim_id}}}:2"
    last = await store.connection.ask("GET", key)
    for broken in (last[:-1], last + b"!", b"", await store.connection.ask("GET", f"{key[:-1]}0")):
        await store.connection.ask("SET", key, broken)
        with pytest.raises(ClaimCorruptError):
            [piece async for piece in store.body(claim)]


async def test_a_lost_chunk_is_corrupt_before_the_claim_expires(store: ClaimStore) -> None:
    claim_id, expires = await store.check_in_stream(an_event(body=b""), stream(noise(3 * CHUNK)))
    await store.connection.ask("DEL", f"{store.connection.prefix}claim:{{{claim_id}}}:1")
    claim = await store.redeem(claim_id, expires=expires)
    with pytest.raises(ClaimCorruptError, match="lost chunk 1 of 3"):
        [piece async for piece in store.body(claim)]


async def test_a_claim_that_expires_while_it_is_read_has_expired(store: ClaimStore) -> None:
    claim_id, expires = await store.check_in_stream(an_event(body=b""), stream(noise(3 * CHUNK)))
    claim = await store.redeem(claim_id, expires=expires)
    await store.connection.ask("DEL", f"{store.connection.prefix}claim:{{{claim_id}}}:2")
    with pytest.raises(ClaimExpiredError):
        [piece async for piece in store.body(replace(claim, expires=await store.connection.now("any")))]


FLAT = """
import asyncio, hashlib, random, resource, sys
from claimstore import ClaimStore
from tests.claimstore.samples import an_event

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

async def body():
    for seed in range(1024):
        yield random.Random(seed).randbytes(65536)

async def main():
    async with await ClaimStore.open(sys.argv[1]) as store:
        await store.check_in(an_event())
        before = peak()
        place = await store.check_in_stream(an_event(body=b""), body())
        claim = await store.redeem(place.claim_id, expires=place.expires)
        size = 0
        async for piece in store.body(claim):
            size += len(piece)
        print(size >> 20, peak() - before)

asyncio.run(main())
"""


def test_64_mib_go_in_and_out_with_flat_memory(private_redis: PrivateRedis) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", FLAT, private_redis.url]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    size, growth = map(int, run.stdout.split())
    assert size == 64
    assert growth < 16  # MiB
