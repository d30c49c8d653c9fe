from datetime import timedelta

from claimstore.connection import Connection
from claimstore.progress import HeadDelivery, Progress


async def test_the_next_worker_goes_on_where_the_last_one_stopped(connection: Connection) -> None:
    first, second = (Progress(connection, life=timedelta(hours=1)) for _ in range(2))
    assert await second.get("e1") is None
    for attempt in (1, 2):
        head = HeadDelivery("evt_a:b", attempt, 1_700_000_000_000 + attempt)
        await first.set("e1", head)
        assert await second.get("e1") == head
    assert await second.get("e2") is None
    await second.clear("e1")
    assert await first.get("e1") is None


async def test_it_is_forgotten_a_claims_life_later(connection: Connection) -> None:
    progress = Progress(connection, life=timedelta(hours=1))
    await progress.set("e1", HeadDelivery("evt_1", 1, 0))
    assert 3500 < await connection.ask("TTL", f"{connection.prefix}progress:{{e1}}") <= 3600
