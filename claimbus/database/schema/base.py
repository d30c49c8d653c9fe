"""What every table is made of: the metadata that holds them all, row numbers, and moments.

Constraints and indexes are named by a convention: so a migration can drop one, and an error name its column.

Every moment is kept as milliseconds since the epoch, UTC, in a BIGINT: the same on both databases, compact,
and free of time zone settings. In Python it is an aware ``datetime`` (columns ``…_at``, ``valid_…``,
``bound_…``), except in the attempts, written thousands a second: there it stays a number (``…_ms``).
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Dialect, Integer, MetaData, TypeDecorator

from claimbus.events.errors import InvalidInputError

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite numbers rows by itself only where the type is spelled INTEGER.
Number = BigInteger().with_variant(Integer(), "sqlite")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(moment: datetime) -> int:
    """Return whole milliseconds since the epoch, rounded down. Raises InvalidInputError for a naive time."""
    if moment.tzinfo is None:
        raise InvalidInputError("time", f"{moment.isoformat()} is naive; give it a time zone")
    return (moment - _EPOCH) // _MILLISECOND


def moment_of(number: int) -> datetime:
    """Return the aware moment, in UTC, of these milliseconds since the epoch."""
    return _EPOCH + number * _MILLISECOND


class Moment(TypeDecorator[datetime]):
    """An aware datetime in Python, milliseconds since the epoch in the database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: D102
        return None if value is None else milliseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: D102
        return None if value is None else moment_of(value)
