"""Worker processes that write to one database at once."""

from claimbus.database import Database, attempts
from tests.database.processes import together

PREPARATION = """
import time
from claimbus.database import Database, attempts
from claimbus.database.attempts import Attempt, new_id
"""
WORK = """
url, name, batches = sys.argv[1], sys.argv[2], int(sys.argv[3])
for batch in range(batches):
    if batch % 10 == 0:  # a restart: the last one to close the file takes its log away
        if batch:
            database.close()
        database = Database.open(url)
    rows = [
        Attempt(
            1772366400000 + batch, new_id(), "ep_" + name, f"evt_{name}_{batch}_{row}", "delivered",
            "PGAE", "market.dam.closed", "claim", 1, 200, 5, "ack", None, None, None, "//iso.example", "1",
            None, None,
        )
        for row in range(50)
    ]
    with database.transaction() as connection:
        attempts.record(connection, rows)
database.close()
"""


def test_no_attempt_is_lost_when_processes_write_at_once(database_url: str) -> None:
    together(PREPARATION, WORK, [[database_url, name, "40"] for name in "abc"])
    with Database.open(database_url) as database, database.snapshot() as connection:
        assert attempts.count(connection) == {"delivered": 3 * 40 * 50}
