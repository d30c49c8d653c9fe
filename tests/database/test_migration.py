"""The schema that a database is brought to, by any number of processes at once."""

from collections.abc import Mapping

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection, create_engine, inspect, text
from sqlalchemy.exc import DatabaseError

from claimbus.database import Database, SchemaError, certificates, endpoints, migration, replays, tokens
from claimbus.database.schema import REVISION, metadata
from tests.database.processes import together


def test_the_migrated_schema_is_the_one_of_the_code(database_url: str) -> None:
    with Database.open(database_url) as database, database.transaction() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        for table in metadata.sorted_tables:  # which Alembic does not compare
            found = {one["name"] for one in inspect(connection).get_check_constraints(table.name)}
            assert found == {one.name for one in table.constraints if isinstance(one, CheckConstraint)}


def test_sqlite_gets_the_tables_that_the_code_would_make(sqlite_url: str) -> None:
    query = text("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL")
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        wanted = {row.name: row.sql.split() for row in connection.execute(query)}
    engine.dispose()
    with Database.open(sqlite_url) as database, database.snapshot() as connection:
        found = {row.name: row.sql.split() for row in connection.execute(query)}
    del found["alembic_version"]
    assert found == wanted


def test_the_code_names_its_newest_revision() -> None:
    assert ScriptDirectory.from_config(migration._config()).get_current_head() == REVISION


def test_processes_that_start_at_once_migrate_once(database_url: str) -> None:
    opening = "from claimbus.database import Database\n"
    together(opening, "Database.open(sys.argv[1]).close()", [[database_url]] * 3)
    with Database.open(database_url) as database, database.snapshot() as connection:
        assert migration.revision(connection) == REVISION


def test_a_database_that_is_newer_than_the_code_is_refused(database_url: str) -> None:
    with Database.open(database_url) as database, database.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="at revision 9999, made by a newer claimbus") as caught:
        Database.open(database_url)
    assert caught.value.field == "CLAIMBUS_DATABASE_URL"


def test_a_start_that_must_not_migrate_is_refused_until_somebody_did(database_url: str) -> None:
    with pytest.raises(SchemaError, match="migrate it"):
        Database.open(database_url, migrate=False)
    Database.open(database_url).close()
    Database.open(database_url, migrate=False).close()


def test_publishers_that_published_go_on(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        config = migration._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        for number, role in enumerate(("publisher", "operator")):
            row = {"id": role, "sha": bytes([number]), "roles": f'["{role}"]', "subject": f"CN={role}"}
            connection.execute(
                text(
                    "INSERT INTO tokens (id, sha256, name, roles, created_at, expires_at)"
                    " VALUES (:id, :sha, 'x', :roles, 1, 2)"
                ),
                row,
            )
            connection.execute(
                text(
                    "INSERT INTO certificates (id, subject, roles, created_at)"
                    " VALUES (:id, :subject, :roles, 1)"
                ),
                row,
            )
    engine.dispose()
    with Database.open(database_url) as database, database.snapshot() as connection:
        publishing = {
            "publisher": frozenset({"oms", "market", "system"}),
            "operator": frozenset[str](),
        }
        assert {one.id: one.grant.publishes for one in tokens.find(connection)} == publishing
        assert {one.id: one.grant.publishes for one in certificates.find(connection)} == publishing
        assert [one.authorities for one in certificates.find(connection)] == [None, None]


def test_webhooks_that_were_delivered_to_count_as_verified(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        config = migration._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(text("INSERT INTO organisations VALUES ('Pacific', 1)"))
        connection.execute(text("INSERT INTO participants VALUES ('PGAE', 'Pacific', '[]', 1)"))
        for kind in ("webhook", "stream"):
            row: dict[str, object] = {
                "id": kind,
                "participant_id": "PGAE",
                "name": kind,
                "kind": kind,
                "mode": "body",
            }
            row |= {"ordered": False, "latest_only": False, "concurrency": 8, "timeout_s": 1.0}
            row |= {"age_limit_s": 60, "state": "active", "state_reason": "", "generation": 1}
            row |= {"revision": 1, "created_at": 1700000000000}
            names = ", ".join(row)
            values = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO endpoints ({names}) VALUES ({values})"), row)
    engine.dispose()
    with Database.open(database_url) as database, database.snapshot() as connection:
        found = {one.kind: one for one in endpoints.find(connection)}
    assert {one.state for one in found.values()} == {"active"}
    assert found["webhook"].verified_at == found["webhook"].created_at
    assert found["stream"].verified_at is None


def test_replays_that_were_made_before_know_whose_letters_they_have(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        config = migration._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
        job = {"state": "running", "state_at": 1, "state_reason": "", "actor": "kay", "reason": ""}
        job |= {
            "selection": "{}",
            "canary": False,
            "keep_going": False,
            "stage": 1,
            "total": 2,
            "created_at": 1,
        }
        letter = {"state": "replaying", "state_at": 1, "state_reason": "", "died_at": 1, "cause": "rejected"}
        letter |= {"fingerprint": "f", "detail": "", "attempts": 1}
        item = {"state": "waiting", "state_at": 1, "detail": ""}
        for replay, owners in (("rp_1", ("PGAE", "PGAE")), ("rp_2", ("PGAE", None)), ("rp_3", ())):
            _insert(connection, "replays", {"id": replay} | job)
            for position, owner in enumerate(owners):
                id_ = f"{replay}_{position}"
                _insert(connection, "letters", {"id": id_, "participant_id": owner} | letter)
                there = {"replay_id": replay, "position": position, "letter_id": id_}
                _insert(connection, "replay_items", there | item)
    engine.dispose()
    with Database.open(database_url) as database, database.snapshot() as connection:
        found = {one.id: replays.participants_of(connection, one.id) for one in replays.find(connection).rows}
    assert found == {"rp_1": {"PGAE"}, "rp_2": {"PGAE", ""}, "rp_3": set()}


def _insert(connection: Connection, table: str, row: Mapping[str, object]) -> None:
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)


def test_a_migration_that_fails_leaves_nothing_behind(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW subscriptions AS SELECT 1"))
    with pytest.raises(DatabaseError, match="subscriptions"):
        Database.open(database_url)
    with engine.begin() as connection:
        assert inspect(connection).get_table_names() == []
        connection.execute(text("DROP VIEW subscriptions"))
    engine.dispose()
    Database.open(database_url).close()


def test_the_database_of_another_program_is_left_alone(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE participants (name TEXT)"))
    with pytest.raises(SchemaError, match="has a table participants of its own"):
        Database.open(database_url)
    with engine.begin() as connection:
        assert inspect(connection).get_table_names() == ["participants"]
    engine.dispose()
