"""Who changed what, when and why. Entries are only ever added: the database itself refuses the rest."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, insert, select

from claimbus.database.page import Page, whole_numbers
from claimbus.database.schema import audit_entries

State = Mapping[str, Any]
"""What an object was or is: values that JSON can hold, and no secrets."""


Kind = Literal[
    "authority",
    "batch",
    "certificate",
    "certificate notice",
    "contact",
    "endpoint",
    "entitlement",
    "event",
    "event type",
    "export",
    "fingerprint",
    "letters",
    "notice",
    "organisation",
    "parked event",
    "participant",
    "replay",
    "token",
]
"""What acts are done to."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Act:
    """Who changes something, why, and when. Every changing function takes one and leaves it in the audit."""

    actor: str
    reason: str = ""
    at: datetime = field(default_factory=_now)


class Subject(NamedTuple):
    """What an act was done to, and the organisation that it concerns, if it is only one."""

    kind: Kind
    id: str
    organisation_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change. ``kind``, ``object_id`` and ``organisation_id`` are its `Subject`."""

    id: int
    at: datetime
    actor: str
    action: str
    kind: str
    object_id: str
    organisation_id: str | None
    before: State | None
    after: State | None
    reason: str


def append(
    connection: Connection,
    act: Act,
    action: str,
    subject: Subject,
    *,
    before: State | None = None,
    after: State | None = None,
) -> None:
    """Add an entry. Call it in the transaction of the change itself, so that neither is without the other."""
    connection.execute(
        insert(audit_entries),
        {
            "at": act.at,
            "actor": act.actor,
            "action": action,
            "kind": subject.kind,
            "object_id": subject.id,
            "organisation_id": subject.organisation_id,
            "before": before,
            "after": after,
            "reason": act.reason,
        },
    )


def find(
    connection: Connection,
    *,
    kind: str | None = None,
    object_id: str | None = None,
    object_ids: Collection[str] | None = None,
    organisation_id: str | None = None,
    actor: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> Page[Entry]:
    """Return the entries that pass every filter given, newest first; ``until`` is exclusive."""
    entry = audit_entries.c
    query = select(audit_entries).order_by(entry.id.desc()).limit(limit + 1)
    wanted = {"kind": kind, "object_id": object_id, "organisation_id": organisation_id, "actor": actor}
    query = query.filter_by(**{name: value for name, value in wanted.items() if value is not None})
    if object_ids is not None:
        query = query.where(entry.object_id.in_(object_ids))
    if since is not None:
        query = query.where(entry.at >= since)
    if until is not None:
        query = query.where(entry.at < until)
    if cursor is not None:
        (before_id,) = whole_numbers(cursor, 1)
        query = query.where(entry.id < before_id)
    found = [Entry(**row) for row in connection.execute(query).mappings()]
    return Page.cut(found, limit, lambda last: str(last.id))
