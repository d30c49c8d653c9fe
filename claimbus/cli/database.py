"""Opening the database as the settings say."""

from claimbus.cli.settings import Settings
from claimbus.database.engine import Database


def open_database(settings: Settings) -> Database:
    """Open the database, its schema brought up to date. Raises what `Database.open` raises."""
    return Database.open(settings.database_url, lock_timeout_s=settings.database_timeout.total_seconds())
