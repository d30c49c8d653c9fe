"""Opening the database as the settings say."""

from claimbus.cli.settings import Settings
from claimbus.database.engine import Database
from claimbus.events.sealing import Keys


def encryption_keys(settings: Settings) -> Keys:
    """Return the keys for what is kept. Raises ConfigurationError."""
    return Keys.parse(settings.encryption_keys.get_secret_value(), required=settings.encryption_required)


def open_database(settings: Settings) -> Database:
    """Open the database, its schema brought up to date. Raises what `Database.open` raises."""
    return Database.open(
        settings.database_url,
        lock_timeout_s=settings.database_timeout.total_seconds(),
        keys=encryption_keys(settings),
    )
