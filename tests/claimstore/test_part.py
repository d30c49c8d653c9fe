"""A part of a body, read without the rest; a claim found by its ID alone; to whom it was handed out."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimstore import ClaimStore
from claimstore.chunks import CHUNK
from claimstore.claim import Claim
from claimstore.errors import ClaimCorruptError
from claimstore.handed import REMEMBERED, Handed
from tests.claimstore.samples import an_event, noise

SIZE = 5 * CHUNK + 1000


async def found(store: ClaimStore, claim_id: str) -> Claim:
    claim = await store.find(claim_id)
    assert claim is not None
    return claim


async def read(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_part_is_what_the_whole_has_there(store: ClaimStore, data: st.DataObject) -> None:
    body = noise(SIZE) if data.draw(st.booleans()) else (b"outage " * SIZE)[:SIZE]
    near = st.sampled_from([at + off for at in range(0, SIZE, CHUNK) for off in (-1, 0, 1) if at + off >= 0])
    start = data.draw(near | st.integers(0, SIZE))
    stop = data.draw((near | st.integers(0, SIZE)).filter(lambda stop: stop >= start))
    place = await store.check_in(an_event(body=body))
    claim = await found(store, place.claim_id)
    assert claim.chunks == 6
    assert await read(store.part(claim, start, stop)) == body[start:stop]
    await store.connection.ask("UNLINK", *store._keys(place.claim_id, 6))


async def test_a_part_reads_only_the_chunks_that_hold_it(store: ClaimStore) -> None:
    body = noise(SIZE)
    claim = await found(store, (await store.check_in(an_event(body=body))).claim_id)
    for number in (0, 1, 4, 5):
        await store.connection.ask("DEL", f"{store._key(claim.id)}:{number}")
    assert await read(store.part(claim, 2 * CHUNK + 7, 4 * CHUNK)) == body[2 * CHUNK + 7 : 4 * CHUNK]
    with pytest.raises(ClaimCorruptError, match="lost chunk 4"):
        await read(store.part(claim, 2 * CHUNK, 4 * CHUNK + 1))


async def test_a_part_of_a_body_that_lies_in_the_record_is_cut_out_of_it(store: ClaimStore) -> None:
    claim = await found(store, (await store.check_in(an_event(body=b"0123456789"))).claim_id)
    assert await read(store.part(claim, 3, 6)) == b"345"


async def test_a_claim_is_found_by_its_id_until_it_is_gone(store: ClaimStore) -> None:
    event = an_event()
    place = await store.check_in(event)
    claim = await found(store, place.claim_id)
    assert (claim.event, claim.expires) == (event, place.expires)
    await store.redeem(place.claim_id, expires=place.expires)  # what is cached does not count
    await store.connection.ask("DEL", store._key(place.claim_id))
    assert await store.find(place.claim_id) is None


async def test_to_whom_a_claim_was_handed_out_is_known_a_month_beyond_its_life(store: ClaimStore) -> None:
    handed = Handed(store.connection)
    expires = await store.connection.now("any") + 100
    await handed.note("a-claim", "PGAE", expires=expires)
    await handed.note("a-claim", "SCE1", expires=expires)
    await handed.note("a-claim", "PGAE", expires=expires)
    assert await handed.to("a-claim") == {"PGAE", "SCE1"}
    assert await handed.to("another") == frozenset()
    ends = await store.connection.ask("EXPIRETIME", f"{store.connection.prefix}handed:{{a-claim}}")
    assert ends == expires + REMEMBERED.total_seconds()
