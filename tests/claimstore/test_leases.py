from claimstore.connection import Connection
from claimstore.leases import Leases
from tests.waiting import eventually


async def test_one_at_a_time_has_the_lease_and_may_renew_it(connection: Connection) -> None:
    leases = Leases(connection)
    assert await leases.take("sweep", "first", seconds=60)
    assert not await leases.take("sweep", "second", seconds=60)
    assert await leases.take("sweep", "first", seconds=60)
    assert await leases.take("another", "second", seconds=60)


async def test_only_the_owner_gives_a_lease_back(connection: Connection) -> None:
    leases = Leases(connection)
    await leases.take("sweep", "first", seconds=60)
    await leases.give_back("sweep", "second")
    assert not await leases.take("sweep", "second", seconds=60)
    await leases.give_back("sweep", "first")
    assert await leases.take("sweep", "second", seconds=60)


async def test_the_lease_of_a_dead_owner_ends_by_itself(connection: Connection) -> None:
    leases = Leases(connection)
    assert await leases.take("sweep", "dead", seconds=0.2)
    await eventually(lambda: leases.take("sweep", "other", seconds=60))
