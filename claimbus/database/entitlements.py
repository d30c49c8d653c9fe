"""Who owns which resource, and since when. Dated; closed, never deleted; every change audited.

An entitlement is half-open: it holds from ``valid_from`` on and no longer at ``valid_to``, so the end of one
owner's can be the beginning of the next one's without a moment that has both.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, bindparam, insert, or_, select, update

from claimbus.database import audit, names, participants
from claimbus.database.audit import Act, Subject
from claimbus.database.errors import NotFoundError
from claimbus.database.schema import entitlements, milliseconds
from claimbus.database.schema import participants as participants_table
from claimbus.database.statements import portions
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import format_time


@dataclass(frozen=True, slots=True)
class Entitlement:
    """A participant's ownership of a resource from a moment on; ``valid_to`` None: no end is known."""

    resource_id: str
    participant_id: str
    valid_from: datetime
    valid_to: datetime | None = None

    def __post_init__(self) -> None:
        names.check_name("resource_id", self.resource_id)
        if self.end_ms is not None and self.end_ms < self.key[2]:
            raise InvalidInputError("valid_to", "is before valid_from")

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells entitlements apart: resource, participant, and the milliseconds of the beginning."""
        return (self.resource_id, self.participant_id, milliseconds(self.valid_from))

    @property
    def end_ms(self) -> int | None:
        """The milliseconds of the end, as the database keeps them."""
        return None if self.valid_to is None else milliseconds(self.valid_to)


Owners = dict[str, frozenset[str]]
"""Resource ID to participant IDs. A resource that nobody owns is not in it."""


def owners(connection: Connection, resource_ids: Collection[str], at: datetime) -> Owners:
    """Return who owns these resources at a moment."""
    found: Owners = {}
    for some in portions(resource_ids):
        found |= _owners(connection, and_(entitlements.c.resource_id.in_(some), _holds(at)))
    return found


def all_owners(connection: Connection, at: datetime) -> Owners:
    """Return who owns what at a moment."""
    return _owners(connection, _holds(at))


def find(
    connection: Connection,
    *,
    participant_id: str | None = None,
    resource_id: str | None = None,
    at: datetime | None = None,
) -> tuple[Entitlement, ...]:
    """Return the entitlements that pass every filter given, by resource; without ``at`` past ones too."""
    query = select(entitlements).order_by(*entitlements.primary_key.columns)
    if participant_id is not None:
        query = query.filter_by(participant_id=participant_id)
    if resource_id is not None:
        query = query.filter_by(resource_id=resource_id)
    if at is not None:
        query = query.where(_holds(at))
    return tuple(Entitlement(*row) for row in connection.execute(query))


def not_ended(connection: Connection, at: datetime) -> tuple[Entitlement, ...]:
    """Return what has no end or one after ``at``, what begins later included."""
    query = select(entitlements).where(_ends_after(at))
    return tuple(Entitlement(*row) for row in connection.execute(query))


def put(connection: Connection, wanted: Iterable[Entitlement], act: Act) -> tuple[int, int]:
    """Add what is new, give what is there its end, leave the rest; return how many were added and changed.

    Raises NotFoundError for an unknown participant.
    """
    by_key = {one.key: one for one in wanted}
    organisations = {one.id: one.organisation_id for one in participants.find(connection)}
    for one in by_key.values():
        if one.participant_id not in organisations:
            raise NotFoundError("participant", f"there is no participant {one.participant_id!r:.60}")
    there = _there(connection, {one.resource_id for one in by_key.values()})
    added = [one for key, one in by_key.items() if key not in there]
    changed = [one for key, one in by_key.items() if key in there and there[key].end_ms != one.end_ms]
    if added:
        connection.execute(insert(entitlements), [_row(one) for one in added])
    if changed:
        column = entitlements.c
        same = and_(
            column.resource_id == bindparam("resource"),
            column.participant_id == bindparam("participant"),
            column.valid_from == bindparam("begin"),
        )
        connection.execute(
            update(entitlements).where(same).values(valid_to=bindparam("end")),
            [
                {
                    "resource": one.resource_id,
                    "participant": one.participant_id,
                    "begin": one.valid_from,
                    "end": one.valid_to,
                }
                for one in changed
            ],
        )
    for one in (*added, *changed):
        before = there.get(one.key)
        name = f"{one.resource_id}/{one.participant_id}"
        audit.append(
            connection,
            act,
            "changed" if before else "added",
            Subject("entitlement", name, organisations[one.participant_id]),
            before=None if before is None else _state(before),
            after=_state(one),
        )
    return len(added), len(changed)


def must_not_overlap(connection: Connection, wanted: Entitlement, *, new: bool = False) -> None:
    """Raise InvalidInputError if its participant owns the resource within this time by another one already.

    What begins at the same moment is the one that would be changed; or, if it is ``new``, another one, too.
    The participant is locked, so that of two at once the second one sees the first.
    """
    whose = select(participants_table.c.id).filter_by(id=wanted.participant_id)
    connection.execute(whose.with_for_update(key_share=True))
    there = find(connection, participant_id=wanted.participant_id, resource_id=wanted.resource_id)
    if any(_overlap(wanted, one) for one in there if new or one.key != wanted.key):
        raise InvalidInputError("resource_id", "it owns that within this time already; end that first")


def close(connection: Connection, open_ones: Iterable[Entitlement], act: Act) -> int:
    """End these at the act's moment, or at their beginning if that is later; return how many changed."""
    ended = [replace(one, valid_to=max(act.at, one.valid_from)) for one in open_ones]
    return put(connection, ended, act)[1]


def _overlap(one: Entitlement, other: Entitlement) -> bool:
    """Tell whether both hold at one moment."""
    begins, ends = (
        max(one.key[2], other.key[2]),
        [end for end in (one.end_ms, other.end_ms) if end is not None],
    )
    return all(begins < end for end in ends)


def _holds(at: datetime) -> ColumnElement[bool]:
    return and_(entitlements.c.valid_from <= at, _ends_after(at))


def _ends_after(at: datetime) -> ColumnElement[bool]:
    return or_(entitlements.c.valid_to.is_(None), entitlements.c.valid_to > at)


def _owners(connection: Connection, condition: ColumnElement[bool]) -> Owners:
    query = select(entitlements.c.resource_id, entitlements.c.participant_id).where(condition)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for resource_id, participant_id in connection.execute(query):
        found[resource_id].add(participant_id)
    return {resource_id: frozenset(names) for resource_id, names in found.items()}


def _there(connection: Connection, resource_ids: Collection[str]) -> dict[tuple[str, str, int], Entitlement]:
    found = {}
    for some in portions(resource_ids):
        for row in connection.execute(select(entitlements).where(entitlements.c.resource_id.in_(some))):
            one = Entitlement(*row)
            found[one.key] = one
    return found


def _row(one: Entitlement) -> dict[str, object]:
    return {
        "resource_id": one.resource_id,
        "participant_id": one.participant_id,
        "valid_from": one.valid_from,
        "valid_to": one.valid_to,
    }


def _state(one: Entitlement) -> audit.State:
    return {
        "valid_from": format_time(one.valid_from),
        "valid_to": None if one.valid_to is None else format_time(one.valid_to),
    }
