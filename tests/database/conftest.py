import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimbus.database import Act, Database
from claimbus.database.schema import metadata
from tests.services import own_database


@pytest.fixture(scope="session")
def shared_postgresql() -> Iterator[Database]:
    """One migrated PostgreSQL database for all tests that do not look at the schema itself."""
    with own_database() as url, Database.open(url) as database:
        yield database


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("migrated") / "claimbus.db"
    Database.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path)
        with Database.open(f"sqlite:///{path}") as opened:
            yield opened
        return
    shared: Database = request.getfixturevalue("shared_postgresql")
    yield shared
    with shared.transaction() as connection:
        connection.exec_driver_sql(
            "SET LOCAL session_replication_role = replica"
        )  # past the audit's triggers
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())


@pytest.fixture
def act() -> Act:
    return Act("jane", reason="a test")


@pytest.fixture(scope="module")
def shared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One SQLite database for the examples of a property; each of them is to be rolled back."""
    folder = tmp_path_factory.mktemp("shared")
    with Database.open(f"sqlite:///{folder / 'claimbus.db'}") as database:
        yield database
