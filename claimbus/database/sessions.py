"""Who is logged in to the web pages.

A session is a random cookie, kept as its SHA-256 only. It stands for no more than the credential that opened
it: whoever looks one up must look that up too, so that what was revoked opens nothing a moment later.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Final, Literal

from sqlalchemy import Connection, delete, insert, or_, select, update

from claimbus.database.access import digest_of
from claimbus.database.schema import sessions

IDLE: Final = timedelta(minutes=30)
"""A session ends when nothing was asked in it for so long."""

LONGEST: Final = timedelta(hours=12)
"""A session ends after so long, whatever is done in it."""

SEEN_EVERY: Final = timedelta(minutes=1)
"""How often it is written down that a session is in use."""

Kind = Literal["token", "certificate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """``credential`` is a token's SHA-256 in hexadecimal, or a subject; ``csrf`` is for forms."""

    kind: Kind
    credential: str
    csrf: str = field(repr=False)
    created_at: datetime
    seen_at: datetime
    expires_at: datetime

    def allows(self, csrf: str) -> bool:
        """Tell whether a form came from one of this session's own pages."""
        return compare_digest(self.csrf.encode(), csrf.encode())


def begin(connection: Connection, kind: Kind, credential: str, now: datetime) -> tuple[Session, str]:
    """Begin a session; return it and its cookie, which cannot be had again."""
    cookie = secrets.token_urlsafe(32)
    row = {
        "kind": kind,
        "credential": credential,
        "csrf": secrets.token_urlsafe(24),
        "created_at": now,
        "seen_at": now,
        "expires_at": now + LONGEST,
    }
    connection.execute(insert(sessions), {"sha256": digest_of(cookie)} | row)
    return Session(**row), cookie  # type: ignore[arg-type]  # the row's values are of several types


def get(connection: Connection, cookie: str, now: datetime) -> Session | None:
    """Return the session of a cookie; None for one that nobody has, or that has ended."""
    column = sessions.c
    query = select(*(one for one in column if one.name != "sha256")).where(
        column.sha256 == digest_of(cookie), column.expires_at > now, column.seen_at > now - IDLE
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else Session(**row)


def note_use(connection: Connection, cookie: str, now: datetime) -> None:
    """Note that a session was used, at most once a minute."""
    column = sessions.c
    due = column.seen_at <= now - SEEN_EVERY
    connection.execute(update(sessions).where(column.sha256 == digest_of(cookie), due).values(seen_at=now))


def end(connection: Connection, cookie: str) -> None:
    """End a session."""
    connection.execute(delete(sessions).where(sessions.c.sha256 == digest_of(cookie)))


def forget(connection: Connection, now: datetime) -> int:
    """Delete the sessions that have ended; return how many."""
    column = sessions.c
    ended = or_(column.expires_at <= now, column.seen_at <= now - IDLE)
    return connection.execute(delete(sessions).where(ended)).rowcount
