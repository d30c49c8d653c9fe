"""Bearer tokens: shown once, kept as their SHA-256 only; they expire, and can be revoked before that."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, insert, or_, select, update

from claimbus.database import audit, names
from claimbus.database.access import Grant, digest_of
from claimbus.database.audit import Act, Subject
from claimbus.database.errors import NotFoundError
from claimbus.database.schema import tokens
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import format_time

PREFIX: Final = "cbt_"
"""With it a token that got somewhere by mistake is recognised by scanners, and by people."""

LONGEST: Final = timedelta(days=400)
"""What a token may live: it is renewed every year, with a month to do so."""

USE_NOTED_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a token; the token itself is not. ``used_at`` is right to the minute."""

    id: str
    name: str
    grant: Grant
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    used_at: datetime | None


def add(
    connection: Connection, name: str, grant: Grant, act: Act, *, expires_at: datetime
) -> tuple[Token, str]:
    """Add a token; return what is known of it and the token itself, which cannot be had again.

    Raises NotFoundError for an unknown participant or organisation, and InvalidInputError.
    """
    names.check_name("name", name)
    grant.check_name(name)
    if not act.at < expires_at <= act.at + LONGEST:
        raise InvalidInputError("expires", f"must be within {LONGEST.days} days from now")
    organisation_id = grant.owner(connection)
    token_id, token = "tok_" + secrets.token_hex(8), PREFIX + secrets.token_urlsafe(32)
    row = {
        "id": token_id,
        "sha256": digest_of(token),
        "name": name,
        "created_at": act.at,
        "expires_at": expires_at,
        **grant.columns(),
    }
    connection.execute(insert(tokens), row)
    after = {"name": name, "expires_at": format_time(expires_at)} | grant.state()
    audit.append(connection, act, "added", Subject("token", token_id, organisation_id), after=after)
    return get(connection, token_id), token


def get(connection: Connection, token_id: str) -> Token:
    """Return what is known of a token. Raises NotFoundError."""
    for token in find(connection, token_id=token_id):
        return token
    raise NotFoundError("token", f"there is no token {token_id!r:.60}")


def find(connection: Connection, *, token_id: str | None = None) -> tuple[Token, ...]:
    """Return all tokens or one, the newest first; those that count no more too."""
    query = select(tokens).order_by(tokens.c.created_at.desc(), tokens.c.id)
    if token_id is not None:
        query = query.filter_by(id=token_id)
    return tuple(
        Token(
            id=row["id"],
            name=row["name"],
            grant=Grant.of(row),
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            revoked_at=row["revoked_at"],
            used_at=row["used_at"],
        )
        for row in connection.execute(query).mappings()
    )


def revoke(connection: Connection, token_id: str, act: Act) -> Token:
    """Let a token count no more; one that was revoked stays so. Raises NotFoundError."""
    token = get(connection, token_id)
    if token.revoked_at is None:
        connection.execute(update(tokens).filter_by(id=token_id).values(revoked_at=act.at))
        subject = Subject("token", token_id, token.grant.owner(connection))
        audit.append(connection, act, "revoked", subject, before={"name": token.name})
    return get(connection, token_id)


def note_use(connection: Connection, digest: bytes, now: datetime) -> None:
    """Note that the token of this SHA-256 was used, at most once a minute."""
    column = tokens.c
    due = or_(column.used_at.is_(None), column.used_at <= now - USE_NOTED_EVERY)
    connection.execute(update(tokens).where(column.sha256 == digest, due).values(used_at=now))
