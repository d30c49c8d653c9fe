"""Worker processes that write to one database, at once or killed in the middle."""

import subprocess
import sys

from claimbus.database import Database, attempts
from tests.database.processes import together

PREPARATION = """
import sys
from claimbus.database import Database, attempts
from claimbus.database.attempts import Attempt, new_id

def batch(name, number):
    return [
        Attempt(
            1772366400000 + number, new_id(), "ep_" + name, f"evt_{name}_{number}_{row}", "delivered",
            "PGAE", "market.dam.closed", "claim", 1, 200, 5, "ack", None, None, None, "//iso.example", "1",
            None, None,
        )
        for row in range(50)
    ]
"""
WRITING = """
url, name = sys.argv[1:]
for number in range(40):
    if number % 10 == 0:  # a restart: the last one to close the file takes its log away
        if number:
            database.close()
        database = Database.open(url)
    with database.transaction() as connection:
        attempts.record(connection, batch(name, number))
database.close()
"""
WRITING_ON = """
database = Database.open(sys.argv[1])
for number in range(1_000_000):
    with database.transaction() as connection:
        attempts.record(connection, batch("a", number))
    print(number, flush=True)
"""


def recorded(url: str) -> int:
    with Database.open(url) as database, database.snapshot() as connection:
        return attempts.count(connection)["delivered"]


def test_no_attempt_is_lost_when_processes_write_at_once(database_url: str) -> None:
    together(PREPARATION, WRITING, [[database_url, name] for name in "abc"])
    assert recorded(database_url) == 3 * 40 * 50


def test_what_a_killed_process_recorded_is_there_in_whole_batches(database_url: str) -> None:
    command = [sys.executable, "-c", PREPARATION + WRITING_ON, database_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(30)]
        process.kill()
        told += process.stdout.readlines()
    rows = recorded(database_url)
    assert rows % 50 == 0
    assert rows >= len([line for line in told if line.endswith("\n")]) * 50
