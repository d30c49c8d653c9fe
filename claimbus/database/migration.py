"""Bringing a database's schema to the one that the code works with (Alembic, loaded only when needed)."""

from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, inspect, text

from claimbus.database.errors import SchemaError
from claimbus.database.schema import REVISION, metadata

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK: Final = 0x636C61696D627573  # "claimbus": PostgreSQL's advisory lock, held while migrating


def is_current(connection: Connection, *, migrate: bool) -> bool:
    """Tell whether the database needs no `upgrade`.

    Raises SchemaError when it is newer than the code, or when it needs one and ``migrate`` is off.
    """
    found = revision(connection)
    if found == REVISION:
        return True
    check_known(found)
    if not migrate:
        raise SchemaError(f"the database is at revision {found}, this claimbus needs {REVISION}: migrate it")
    return False


def revision(connection: Connection) -> str | None:
    """Return the revision that the database is at; None when it has never been migrated."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def check_known(found: str | None) -> None:
    """Raise SchemaError for a revision that this code knows nothing of: a newer one made it."""
    if found is not None and found not in known_revisions():
        raise SchemaError(
            f"the database is at revision {found}, made by a newer claimbus than this, which knows {REVISION}"
        )


def known_revisions() -> frozenset[str]:
    """Return the revisions that this code can migrate from."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - 0.1 s that most starts need not spend

    scripts = ScriptDirectory.from_config(_config())
    return frozenset(script.revision for script in scripts.walk_revisions())


def upgrade(engine: Engine) -> None:
    """Migrate, all of it in one transaction, which another process at the same start waits for."""
    from alembic import command  # noqa: PLC0415

    with engine.begin() as connection:  # in SQLite, BEGIN IMMEDIATE is the lock
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if revision(connection) is None:
            strange = sorted(metadata.tables.keys() & set(inspect(connection).get_table_names()))
            if strange:
                raise SchemaError(f"another program's database: it has a table {strange[0]} of its own")
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "claimbus.database:migrations")
    return config
