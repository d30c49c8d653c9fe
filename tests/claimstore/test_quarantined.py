from claimstore.connection import Connection
from claimstore.quarantined import Quarantined


async def test_an_endpoint_is_in_quarantine_since_the_first_time_until_it_is_removed(
    connection: Connection,
) -> None:
    quarantined = Quarantined(connection)
    assert await quarantined.all() == {}
    await quarantined.put("e1", 1000)
    await quarantined.put("e1", 2000)
    await quarantined.put("e2", 3000)
    assert await quarantined.all() == {"e1": 1000, "e2": 3000}
    await quarantined.remove("e1")
    assert await quarantined.all() == {"e2": 3000}
