"""Where bodies are, and that only whole ones count."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from claimbus.database import kept as keeping
from claimbus.database.letters import DeadLetter
from claimbus.deadletters.bodies import Bodies
from claimbus.deadletters.errors import BodyGoneError
from claimbus.events.event import audience_of
from claimstore.errors import ClaimCorruptError
from tests.deadletters.stage import Cemetery, event, open_cemetery

CHUNKED = bytes(range(256)) * 4096 + b"and a bit more"
BODIES = pytest.mark.parametrize(
    "content", [b'{"status": "OUT"}', b"", CHUNKED], ids=["inline", "empty", "chunked"]
)


@pytest.fixture
async def cemetery(redis_url: str, key_prefix: str, sqlite_url: str) -> AsyncIterator[Cemetery]:
    async with open_cemetery(redis_url, key_prefix, sqlite_url) as cemetery:
        cemetery.participant("AAA1")
        yield cemetery


@pytest.fixture
def bodies(cemetery: Cemetery) -> Bodies:
    return Bodies(cemetery.store, cemetery.database)


async def bury(
    cemetery: Cemetery, content: bytes = b"{}", *, count: int = 1, kept: bool = True
) -> list[DeadLetter]:
    events = [event("AAA1", body=content) for _ in range(count)]
    return await cemetery.bury(cemetery.endpoint("AAA1"), *events, kept=kept)


@BODIES
async def test_a_body_is_in_redis_as_long_as_it_is_whole(
    cemetery: Cemetery, bodies: Bodies, content: bytes
) -> None:
    (letter,) = await bury(cemetery, content, kept=False)
    assert await bodies.check(letter) == "redis"
    await cemetery.spoil(letter.claim_id)
    assert await bodies.check(letter) == "corrupt"
    await cemetery.forget(letter.claim_id)
    assert await bodies.check(letter) == "gone"


@BODIES
async def test_a_body_that_is_kept_counts_where_redis_does_not_have_it_whole(
    cemetery: Cemetery, bodies: Bodies, content: bytes
) -> None:
    (letter,) = await bury(cemetery, content)
    await cemetery.spoil(letter.claim_id)
    assert await bodies.check(letter) == "kept"
    await cemetery.forget(letter.claim_id)
    assert await bodies.check(letter) == "kept"


async def test_a_body_that_has_lost_a_chunk_is_corrupt(cemetery: Cemetery, bodies: Bodies) -> None:
    (letter,) = await bury(cemetery, CHUNKED, kept=False)
    await cemetery.store.connection.ask("DEL", (await cemetery.keys(letter.claim_id))[-1])
    assert await bodies.check(letter) == "corrupt"


async def test_a_kept_body_that_was_changed_is_not_put_back(cemetery: Cemetery, bodies: Bodies) -> None:
    (letter,) = await bury(cemetery, CHUNKED)
    await cemetery.forget(letter.claim_id)
    with cemetery.database.transaction() as sql:
        keeping.write_chunk(sql, letter.claim_id or "", 1, b"another", datetime.now(UTC))
    assert await bodies.check(letter) == "corrupt"
    with pytest.raises(ClaimCorruptError):
        await bodies.put_back(letter.claim_id or "", int(time.time()) + 60)
    assert await cemetery.store.stat(letter.claim_id or "") is None


@BODIES
async def test_a_body_is_opened_wherever_it_is(cemetery: Cemetery, bodies: Bodies, content: bytes) -> None:
    (letter,) = await bury(cemetery, content)
    for _ in ("in Redis", "in the database"):
        found, size, pieces = await bodies.open(letter)
        assert found.identity == letter.message_id
        assert b"".join([piece async for piece in pieces]) == content
        assert size == len(content)
        await cemetery.forget(letter.claim_id)


async def test_a_body_that_is_nowhere_cannot_be_opened(cemetery: Cemetery, bodies: Bodies) -> None:
    (letter,) = await bury(cemetery, kept=False)
    await cemetery.forget(letter.claim_id)
    with pytest.raises(BodyGoneError, match=letter.id):
        await bodies.open(letter)
    with pytest.raises(BodyGoneError, match=letter.claim_id):
        await bodies.put_back(letter.claim_id or "", int(time.time()) + 60)


async def test_a_body_that_is_corrupt_cannot_be_opened(cemetery: Cemetery, bodies: Bodies) -> None:
    (letter,) = await bury(cemetery, kept=False)
    await cemetery.spoil(letter.claim_id)
    with pytest.raises(ClaimCorruptError):
        await bodies.open(letter)


@BODIES
async def test_a_secured_claim_is_whole_and_lives_long_enough(
    cemetery: Cemetery, bodies: Bodies, content: bytes
) -> None:
    """Be it that it was so, that it would have expired too early, was corrupt, or gone."""
    now = int(time.time())
    found = await bury(cemetery, content, count=4)
    lasting, short, corrupt, gone = (letter.claim_id or "" for letter in found)
    for claim_id, expires in ((lasting, now + 5000), (short, now + 100), (corrupt, now + 5000)):
        await cemetery.expire(claim_id, expires)
    await cemetery.spoil(corrupt)
    await cemetery.forget(gone)
    secured = await bodies.secure(dict.fromkeys((lasting, short, corrupt, gone), now + 4000), now + 9000)
    assert [one.where for one in secured.values()] == ["redis", "redis", "kept", "kept"]
    assert {one.audience for one in secured.values()} == {audience_of(["AAA1"])}
    assert secured[lasting].expires == now + 5000
    assert {secured[one].expires for one in (short, corrupt, gone)} == {now + 9000}
    for claim_id, claim in secured.items():
        assert await cemetery.expiries(claim_id) == {claim.expires}
    assert [await bodies.check(letter) for letter in found] == ["redis"] * 4


async def test_a_claim_that_cannot_be_secured_says_why(cemetery: Cemetery, bodies: Bodies) -> None:
    gone, corrupt = (letter.claim_id or "" for letter in await bury(cemetery, count=2, kept=False))
    await cemetery.forget(gone)
    await cemetery.spoil(corrupt)
    now = int(time.time())
    secured = await bodies.secure({gone: now, corrupt: now}, now + 9000)
    assert secured == {gone: ("gone", None, None), corrupt: ("corrupt", None, None)}
