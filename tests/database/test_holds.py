from datetime import UTC, datetime, timedelta

from claimbus.database import Database, holds
from claimbus.database.holds import HoldEvent

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_the_history_of_holds_is_told_newest_first(database: Database) -> None:
    held = HoldEvent("ep_one", "held", NOON, "5 failures in a row: connect")
    other = HoldEvent("ep_two", "disabled", NOON + HOUR, "410 Gone")
    released = HoldEvent("ep_one", "released", NOON + 2 * HOUR, "probe delivered")
    with database.transaction() as connection:
        for event in (held, other, released):
            holds.record(connection, event)
        assert holds.find(connection) == (released, other, held)
        assert holds.find(connection, endpoint_id="ep_one") == (released, held)
        assert holds.find(connection, since=NOON + HOUR, limit=1) == (released,)
