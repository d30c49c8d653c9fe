"""Transactions: what a caller may rely on, and what a broken database looks like."""

import asyncio
import threading
import traceback
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from claimbus.database import Act, Database, DatabaseUnavailableError, participants
from claimbus.database.engine import parse
from claimbus.events.errors import ConfigurationError, InvalidInputError
from tests.waiting import eventually


def organisations(database: Database) -> tuple[str, ...]:
    with database.snapshot() as connection:
        return participants.find_organisations(connection)


def test_a_transaction_is_committed_whole_or_not_at_all(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        participants.add_organisation(connection, "Kept", act)
    with pytest.raises(InvalidInputError), database.transaction() as connection:  # noqa: PT012
        participants.add_organisation(connection, "Rolled back", act)
        participants.add_organisation(connection, "", act)
    assert organisations(database) == ("Kept",)


async def test_work_in_a_thread_returns_its_value_and_raises_its_error(database: Database, act: Act) -> None:
    assert await database.run(lambda connection: participants.add_organisation(connection, "One", act))
    assert await database.read(participants.find_organisations) == ("One",)
    with pytest.raises(ZeroDivisionError):
        await database.run(lambda _connection: 1 / 0)


async def test_the_loop_goes_on_while_a_transaction_waits(database: Database) -> None:
    entered, leave = threading.Event(), threading.Event()

    def wait(_connection: object) -> bool:
        entered.set()
        return leave.wait(20)

    waiting = asyncio.create_task(database.run(wait))
    await eventually(entered.is_set)  # polls on the loop, so the loop turns
    assert await database.read(participants.find_organisations) == ()  # and readers wait for no writer
    leave.set()
    assert await waiting


async def test_a_cancelled_caller_leaves_a_whole_transaction(database: Database, act: Act) -> None:
    entered, leave = threading.Event(), threading.Event()

    def work(connection: object) -> None:
        entered.set()
        leave.wait(20)
        participants.add_organisation(connection, "Done", act)  # type: ignore[arg-type]

    task = asyncio.create_task(database.run(work))
    await eventually(entered.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    leave.set()
    await eventually(lambda: organisations(database) == ("Done",))


def test_a_snapshot_stays_as_it_was_and_takes_no_write(database: Database, act: Act) -> None:
    with database.snapshot() as connection:
        assert participants.find_organisations(connection) == ()
        with database.transaction() as writing:
            participants.add_organisation(writing, "New", act)
        assert participants.find_organisations(connection) == ()
    with pytest.raises(DatabaseUnavailableError), database.snapshot() as connection:
        participants.add_organisation(connection, "Never", act)
    assert organisations(database) == ("New",)


def test_sqlite_commits_survive_a_power_loss(sqlite_url: str) -> None:
    with Database.open(sqlite_url) as database, database.transaction() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_nobody_else_may_read_the_secrets_in_a_new_file(sqlite_url: str) -> None:
    with Database.open(sqlite_url) as database, database.transaction():
        folder = Path(sqlite_url.removeprefix("sqlite:///")).parent
        modes = {file.stat().st_mode & 0o777 for file in folder.glob("claimbus.db*")}
    assert modes == {0o600}


def test_a_database_locked_for_too_long_is_unavailable_and_then_goes_on(database_url: str, act: Act) -> None:
    with Database.open(database_url) as other, Database.open(database_url, lock_timeout_s=0.05) as database:
        with other.transaction() as locking:
            if not other.is_sqlite:
                locking.execute(text("LOCK TABLE organisations"))
            with pytest.raises(DatabaseUnavailableError), database.transaction() as connection:
                participants.add_organisation(connection, "Late", act)
        with database.transaction() as connection:
            participants.add_organisation(connection, "Late", act)
        assert organisations(database) == ("Late",)


def test_a_full_disk_is_unavailable_and_then_goes_on(sqlite_url: str) -> None:
    with Database.open(sqlite_url) as database:
        with database.transaction() as connection:  # one writing connection, so the limit stays with it
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
            connection.execute(text(f"PRAGMA max_page_count = {pages}"))
        long = Act("jane", reason="x" * 100_000)
        with pytest.raises(DatabaseUnavailableError, match="full"), database.transaction() as connection:
            participants.add_organisation(connection, "One", long)
        with database.transaction() as connection:
            connection.execute(text("PRAGMA max_page_count = 1000000"))
            participants.add_organisation(connection, "One", long)
        assert organisations(database) == ("One",)


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("shopping list\n" * 1000)
    with pytest.raises(DatabaseUnavailableError, match="not a database"):
        Database.open(f"sqlite:///{tmp_path / 'notes.db'}")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_lost_connection_is_unavailable_and_then_goes_on(database_url: str, act: Act) -> None:
    with Database.open(database_url) as database:
        with pytest.raises(DatabaseUnavailableError), database.transaction() as connection:  # noqa: PT012
            _end_sessions(database_url)
            participants.add_organisation(connection, "One", act)
        assert organisations(database) == ()
        _end_sessions(database_url)  # this time an idle one, which costs nobody a transaction
        with database.transaction() as connection:
            assert participants.add_organisation(connection, "One", act)


def _end_sessions(url: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_server_that_is_not_there_is_unavailable() -> None:
    url = "postgresql://claimbus:hunter2@127.0.0.1:1/claimbus"
    with pytest.raises(DatabaseUnavailableError) as caught:
        Database.open(url)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "no database URL"),
        ("claimbus.db", "no database URL"),
        ("postgresql://jane:hunter2@localhost:many/claimbus", "no database URL"),
        ("mysql://root:hunter2@localhost/claimbus", "sqlite and postgresql"),
        ("postgresql+asyncpg://localhost/claimbus", "sqlite and postgresql"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:////nowhere/at/all/claimbus.db", "the folder /nowhere/at/all does not exist"),
    ],
)
def test_a_wrong_url_names_the_setting_and_no_password(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        Database.open(url)
    assert caught.value.field == "CLAIMBUS_DATABASE_URL"
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_takes_the_same_driver(scheme: str) -> None:
    assert parse(f"{scheme}://localhost/claimbus").drivername == "postgresql+psycopg"
