"""A secret is rotated without a pause: for a while the old one signs too, then the new one alone."""

from datetime import timedelta

from claimbus.database import endpoints
from tests.consumers.house import ACT, House
from tests.waiting import eventually


async def test_a_receiver_may_take_the_new_secret_when_it_likes_until_the_overlap_ends(house: House) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1")
    await house.worker(reconcile_every=timedelta(milliseconds=200))

    async def rotate(overlap: timedelta) -> tuple[str, ...]:
        rotated = await house.database.run(
            lambda sql: endpoints.rotate_secret(sql, endpoint.id, ACT, overlap=overlap)
        )
        await house.publisher.announce(endpoint.id, "changed")
        return tuple(one.value for one in rotated.secrets)

    async def signatures() -> int:
        """How many signatures the next event bears; it is checked whether the receiver accepts one."""
        before = len(receiver.received)
        await house.publish()
        await eventually(lambda: len(receiver.received) > before)
        request = receiver.received[-1]
        assert request.verified
        return len((request.header("webhook-signature") or "").split(" "))

    async def bears(count: int) -> bool:
        return await signatures() == count

    assert await signatures() == 1
    new, old = await rotate(endpoints.SECRET_OVERLAP)
    receiver.secrets = (old,)
    await eventually(lambda: bears(2))
    receiver.secrets = (new,)
    assert await signatures() == 2
    newest, *_ = await rotate(timedelta(seconds=1))
    receiver.secrets = (new, newest)
    await eventually(lambda: bears(1))
    receiver.secrets = (newest,)
    assert await signatures() == 1
