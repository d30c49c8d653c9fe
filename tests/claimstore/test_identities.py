"""Rule 2: one identity, published once; another body under it is a conflict."""

import asyncio
import hashlib
from datetime import timedelta

import pytest

from claimbus.events.errors import InvalidInputError
from claimstore.connection import Connection
from claimstore.errors import IdentityConflictError
from claimstore.identities import Confirmed, Identities, New, Unconfirmed

DIGEST = hashlib.sha256(b"body").digest()
OTHER = hashlib.sha256(b"another").digest()


@pytest.fixture
def identities(connection: Connection) -> Identities:
    return Identities(connection, life=timedelta(hours=1))


async def test_an_event_is_new_then_unconfirmed_then_confirmed(identities: Identities) -> None:
    assert await identities.begin("evt_1", DIGEST, "claim-1") == New()
    assert await identities.begin("evt_1", DIGEST, "claim-2") == Unconfirmed("claim-1")
    await identities.confirm(["evt_1"])
    assert await identities.begin("evt_1", DIGEST, "claim-3") == Confirmed()


@pytest.mark.parametrize("confirmed", [False, True])
async def test_another_body_under_the_same_identity_is_a_conflict(
    identities: Identities, confirmed: bool
) -> None:
    await identities.begin("evt_1", DIGEST, "claim-1")
    if confirmed:
        await identities.confirm(["evt_1"])
    with pytest.raises(IdentityConflictError, match="evt_1") as conflict:
        await identities.begin("evt_1", OTHER, "claim-2")
    assert isinstance(conflict.value, InvalidInputError)
    assert conflict.value.field == "id"
    assert await identities.begin("evt_1", DIGEST, "claim-3") == (
        Confirmed() if confirmed else Unconfirmed("claim-1")
    )


async def test_of_many_producers_at_once_exactly_one_begins(identities: Identities) -> None:
    standings = await asyncio.gather(*(identities.begin("evt_1", DIGEST, f"claim-{n}") for n in range(300)))
    assert standings.count(New()) == 1
    winner = f"claim-{standings.index(New())}"
    assert standings.count(Unconfirmed(winner)) == 299


async def test_in_a_batch_a_conflict_leaves_the_others_alone(identities: Identities) -> None:
    await identities.begin("evt_1", DIGEST, "claim-1")
    first, second, third = await identities.begin_many(
        [("evt_0", DIGEST, "claim-0"), ("evt_1", OTHER, "claim-9"), ("evt_1", DIGEST, "claim-8")]
    )
    assert (first, third) == (New(), Unconfirmed("claim-1"))
    assert isinstance(second, IdentityConflictError)


async def test_confirming_keeps_the_life_and_invents_nothing(
    identities: Identities, connection: Connection
) -> None:
    await identities.begin("evt_1", DIGEST, "claim-1")
    await identities.confirm(["evt_1", "evt_unknown"])
    assert 3500 < await connection.ask("TTL", f"{connection.prefix}identity:{{evt_1}}") <= 3600
    assert await identities.begin("evt_unknown", DIGEST, "claim-1") == New()


async def test_a_digest_that_is_no_sha256_is_refused(identities: Identities) -> None:
    with pytest.raises(ValueError, match="digest"):
        await identities.begin("evt_1", b"short", "claim-1")
