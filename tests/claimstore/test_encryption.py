"""Encrypted claims: what was put in comes out, or nothing does; a key that is not set loses nothing."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimbus.events.event import Event
from claimbus.events.sealing import Keys
from claimstore import ClaimStore
from claimstore.chunks import CHUNK, proven_chunks
from claimstore.claim import Claim
from claimstore.connection import Connection
from claimstore.encryption import encrypting
from claimstore.errors import ClaimCorruptError, ClaimKeyMissingError, StoreUnavailableError
from claimstore.record import (
    HEAD_LIMIT,
    KEY_LIMIT,
    chunked_record,
    inline_record,
    read_head,
    read_key,
    read_record,
)
from claimstore.usage import claims_by_key
from tests.claimstore.samples import JSON_BODY, an_event, events, keys, noise
from tests.events.keys import NEW, OLD, OTHER, key
from tests.events.keys import keys as keyring

ID, ANOTHER = "Zm9yIHRlc3RzIG9ubHkgLi4u", "YW5vdGhlciBvbmUgLi4uLi4u"
BEFORE, AFTER = keyring(OLD), keyring(NEW, OLD)
REQUIRED = keyring(NEW, OLD, required=True)


def encrypted(event: Event, claim_id: str = ID, by: Keys = BEFORE) -> bytes:
    return inline_record(claim_id, event, encrypting(by, claim_id))


def flipped(data: bytes, bit: int) -> bytes:
    broken = bytearray(data)
    broken[bit // 8] ^= 1 << bit % 8
    return bytes(broken)


@given(events)
def test_an_encrypted_record_gives_back_the_event(event: Event) -> None:
    for present in (BEFORE, AFTER):
        claim = read_record(ID, encrypted(event), expires=7, keys=present)
        assert claim.event == event
        assert (claim.size, claim.sha256) == (len(event.body), hashlib.sha256(event.body).digest())
        assert claim.key == BEFORE.first


@given(events)
def test_a_record_in_clear_stays_readable_once_there_are_keys(event: Event) -> None:
    record = inline_record(ID, event)
    assert read_record(ID, record, expires=7, keys=AFTER) == read_record(ID, record, expires=7)


@given(events)
def test_a_record_in_clear_is_refused_once_keys_are_required(event: Event) -> None:
    assert read_record(ID, encrypted(event), expires=7, keys=REQUIRED).event == event
    record = inline_record(ID, event)
    for read in (
        lambda: read_record(ID, record, expires=7, keys=REQUIRED),
        lambda: read_head(ID, record, REQUIRED),
    ):
        with pytest.raises(
            ClaimCorruptError, match="lies in clear, which CLAIMBUS_ENCRYPTION_REQUIRED refuses"
        ):
            read()


@given(events, st.data())
def test_a_flipped_bit_of_an_encrypted_record_is_found(event: Event, data: st.DataObject) -> None:
    record = encrypted(event)
    bit = data.draw(st.integers(0, 8 * len(record) - 1))
    with pytest.raises(ClaimCorruptError):
        read_record(ID, flipped(record, bit), expires=0, keys=BEFORE)


def test_every_flipped_bit_is_damage_and_never_a_missing_key() -> None:
    record = encrypted(an_event(body=b"short"))
    for bit in range(8 * len(record)):
        with pytest.raises(ClaimCorruptError):
            read_record(ID, flipped(record, bit), expires=0, keys=BEFORE)


@given(events, events)
def test_no_part_of_a_record_passes_for_that_of_another(event: Event, other: Event) -> None:
    mine, others = msgpack.unpackb(encrypted(event)), msgpack.unpackb(encrypted(other, ANOTHER))
    again = msgpack.unpackb(encrypted(replace(event, audience=frozenset({"NOT_ME"}))))
    for foreign in (others, again):
        for place in (1, 2, 3):
            mixed = [foreign[n] if n == place else part for n, part in enumerate(mine)]
            with pytest.raises(ClaimCorruptError):
                read_record(ID, msgpack.packb(mixed), expires=0, keys=BEFORE)
    with pytest.raises(ClaimCorruptError):
        read_record(ID, msgpack.packb(others), expires=0, keys=BEFORE)


def test_a_record_sealed_anew_for_another_claim_is_corrupt() -> None:
    version, head, _, body = msgpack.unpackb(encrypted(an_event(), ANOTHER))
    seal = hashlib.sha256(ID.encode() + version[1].encode() + head).digest()
    with pytest.raises(ClaimCorruptError, match="is not what was encrypted"):
        read_record(ID, msgpack.packb([version, head, seal, body]), expires=0, keys=BEFORE)


def test_a_head_of_other_recipients_takes_no_body_with_it() -> None:
    """Who may write in Redis, and has a record for another audience, cannot put this body under it."""
    _, _, _, secret = msgpack.unpackb(encrypted(an_event(audience=frozenset({"PGAE"}))))
    version, head, seal, _ = msgpack.unpackb(encrypted(an_event(audience=frozenset({"SPY1"}))))
    with pytest.raises(ClaimCorruptError, match="is not what was encrypted"):
        read_record(ID, msgpack.packb([version, head, seal, secret]), expires=0, keys=BEFORE)


@pytest.mark.parametrize("present", [keyring(), keyring(NEW), keyring(NEW, OTHER)])
def test_a_key_that_is_not_set_is_unavailability_and_named(present: Keys) -> None:
    record = encrypted(an_event())
    for read in (
        lambda: read_record(ID, record, expires=0, keys=present),
        lambda: read_head(ID, record[:HEAD_LIMIT], present),
    ):
        with pytest.raises(ClaimKeyMissingError, match=r"with key old\.[0-9a-f]{8}, which") as missing:
            read()
        assert isinstance(missing.value, StoreUnavailableError), "no worker makes a dead letter of it"
    assert read_key(ID, record[:KEY_LIMIT]) == BEFORE.first


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)


@given(json_like, json_like, json_like)
def test_well_sealed_nonsense_is_corrupt_and_nothing_else(head: object, body: object, seal: object) -> None:
    name = BEFORE.first or ""
    good = hashlib.sha256(ID.encode() + name.encode() + head).digest() if isinstance(head, bytes) else seal
    for parts in (
        [[2, name], head, good, body],
        [[2, name], head, seal, body],
        [[2, head], head, good, body],
    ):
        with pytest.raises(ClaimCorruptError):
            read_record(ID, msgpack.packb(parts), expires=0, keys=BEFORE)


def test_nothing_of_an_event_is_in_its_record() -> None:
    event = an_event(body=b"NOBODY MAY READ THIS", subject="SUNRIV_2_UNIT 1")
    record = encrypted(event)
    digest = hashlib.sha256(event.body).digest()
    for part in (event.body, b"SUNRIV", b"PGAE", event.id.encode(), event.type.encode(), b"json", digest):
        assert part not in record
    assert encrypted(event) != record


def test_the_largest_head_fits_encrypted_too() -> None:
    widest = an_event(
        audience=frozenset(f"P{number:031}" for number in range(1000)),
        body=noise(500_000),
        subject="s" * 1024,
    )
    long_named = keyring(key("k" * 32, 9))
    record = encrypted(widest, by=long_named)
    assert read_head(ID, record[:HEAD_LIMIT], long_named).audience == widest.audience
    assert read_key(ID, record[:KEY_LIMIT]) == long_named.first
    fullest = an_event(subject="s" * (HEAD_LIMIT - 1000), body=b"")
    room = HEAD_LIMIT - len(inline_record(ID, fullest))
    almost = an_event(subject="s" * (HEAD_LIMIT - 1000 + room - 90), body=b"")
    assert read_head(ID, encrypted(almost, by=long_named)[:HEAD_LIMIT], long_named).size == 0


async def _stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@given(st.lists(st.binary(max_size=600), min_size=1, max_size=6, unique=True), st.data())
@settings(max_examples=60)
def test_chunks_open_in_their_place_of_their_claim_only(parts: list[bytes], data: st.DataObject) -> None:
    def boxes(claim_id: str) -> list[bytes]:
        cipher = encrypting(BEFORE, claim_id)
        assert cipher is not None
        return [cipher.encrypt(part, f"chunk {number}".encode()) for number, part in enumerate(parts)]

    def opened(stored: list[bytes]) -> list[bytes]:
        async def read() -> list[bytes]:
            return [piece async for _, piece in proven_chunks(claim, _stream(*stored), BEFORE)]

        return asyncio.run(read())

    body, mine, others = b"".join(parts), boxes(ID), boxes(ANOTHER)
    sha256, count = hashlib.sha256(body).digest(), len(parts)
    event = an_event(body=b"")
    record = chunked_record(
        ID,
        event,
        encrypting(BEFORE, ID),
        encoding="identity",
        size=len(body),
        sha256=sha256,
        chunks=count,
    )
    claim = read_record(ID, record, expires=7, keys=BEFORE)
    assert opened(mine) == parts
    place = data.draw(st.integers(0, count - 1))
    bit = data.draw(st.integers(0, 8 * len(mine[place]) - 1))
    order = data.draw(st.permutations(range(count)))
    broken = [
        [*mine[:place], others[place], *mine[place + 1 :]],
        [*mine[:place], flipped(mine[place], bit), *mine[place + 1 :]],
        *([[mine[n] for n in order]] if order != list(range(count)) else []),
        *([mine[:-1]] if parts[-1] else []),
    ]
    for stored in broken:
        with pytest.raises(ClaimCorruptError):
            opened(stored)


@pytest.fixture
def before(connection: Connection) -> ClaimStore:
    return ClaimStore(connection, keys=BEFORE)


@pytest.fixture
def after(connection: Connection) -> ClaimStore:
    return ClaimStore(connection, keys=AFTER)


async def body_of(store: ClaimStore, claim: Claim) -> bytes:
    return b"".join([piece async for piece in store.body(claim)])


@pytest.mark.parametrize("size", [0, 2000, 3 * CHUNK + 7])
async def test_a_body_comes_back_after_a_rotation_and_in_parts(
    before: ClaimStore, after: ClaimStore, size: int
) -> None:
    for body in (noise(size), (b'{"status": "OUT"}' * size)[:size]):
        place = await before.check_in_stream(an_event(body=b""), _stream(body))
        for store in (before, after):
            claim = await store.redeem(place.claim_id, expires=place.expires)
            assert await body_of(store, claim) == body
            assert claim.key == BEFORE.first
            if size:
                part = [piece async for piece in store.part(claim, 3, size - 3)]
                assert b"".join(part) == body[3:-3]
            seen = (await store.glance([place.claim_id]))[place.claim_id]
            assert seen.audience == frozenset({"PGAE", "SCE1"})
            stat = await store.stat(place.claim_id)
            assert stat is not None
            assert (stat.size, stat.chunks) == (size, claim.chunks)


async def test_what_is_stored_can_be_put_back_after_a_rotation(before: ClaimStore, after: ClaimStore) -> None:
    for body in (JSON_BODY, noise(3 * CHUNK)):
        claim_id, expires = await before.check_in_stream(an_event(body=b""), _stream(body))
        record, *chunks = [part async for part in after.stored(claim_id, expires=expires)]
        for name in await keys(before.connection):
            await before.connection.ask("DEL", name)
        await after.check_in_record(claim_id, record, expires, chunks=_stream(*chunks))
        claim = await after.redeem(claim_id, expires=expires)
        assert await body_of(after, claim) == body


async def test_chunks_swapped_in_redis_never_make_a_body(before: ClaimStore) -> None:
    body = noise(4 * CHUNK)
    claim_id, expires = await before.check_in_stream(an_event(body=b""), _stream(body))
    key, ask = f"{before.connection.prefix}claim:{{{claim_id}}}", before.connection.ask
    first, second = await ask("GET", f"{key}:0"), await ask("GET", f"{key}:1")
    await ask("SET", f"{key}:0", second, "EXAT", expires)
    await ask("SET", f"{key}:1", first, "EXAT", expires)
    claim = await before.redeem(claim_id, expires=expires)
    with pytest.raises(ClaimCorruptError, match="has a chunk that is not what was encrypted"):
        await body_of(before, claim)
    with pytest.raises(ClaimCorruptError):
        [piece async for piece in before.part(claim, 0, 10)]


async def test_without_its_key_a_claim_waits_and_is_there_when_the_key_is(
    connection: Connection, before: ClaimStore
) -> None:
    place = await before.check_in(an_event())
    for store in (ClaimStore(connection), ClaimStore(connection, keys=keyring(NEW))):
        for asking in (
            store.redeem(place.claim_id, expires=place.expires),
            store.stat(place.claim_id),
            store.glance([place.claim_id]),
            store.find(place.claim_id),
        ):
            with pytest.raises(ClaimKeyMissingError):
                await asking
        store.keys = AFTER
        assert (await store.redeem(place.claim_id, expires=place.expires)).event.body == JSON_BODY


async def test_no_value_in_redis_has_anything_of_a_body(before: ClaimStore) -> None:
    marks = b"SUNRIV_2_UNIT 1", b"NOBODY MAY READ THIS", b"PGAE"
    small = an_event(body=b'"NOBODY MAY READ THIS"', subject="SUNRIV_2_UNIT 1", audience=frozenset({"PGAE"}))
    await before.check_in(small)
    large = replace(small, body=b"")
    await before.check_in_stream(large, _stream(noise(CHUNK), b"NOBODY MAY READ THIS", noise(CHUNK)))
    await before.check_in_stream(large, _stream(b"NOBODY MAY READ THIS" * CHUNK))
    values = [await before.connection.ask("GET", name) for name in await keys(before.connection)]
    assert len(values) > 20
    assert not [mark for mark in marks for value in values if mark in value]


async def test_claims_are_counted_by_the_key_that_they_need(
    connection: Connection, before: ClaimStore, after: ClaimStore, store: ClaimStore
) -> None:
    for using, count in ((store, 3), (before, 4), (after, 5)):
        await using.check_in_many([an_event() for _ in range(count)])
    await before.check_in_stream(an_event(body=b""), _stream(noise(3 * CHUNK)))
    await connection.ask("SET", f"{connection.prefix}claim:{{corrupt}}", b"what", "EX", 60)
    assert await claims_by_key(connection) == {None: 3, BEFORE.first: 5, AFTER.first: 5}
