"""Outages of generating resources, and the difference between two snapshots of them.

The JSON body of an outage is a flat object with snake_case names, times in UTC, power in MW; the catalogue
holds its schema. All datetimes are kept in UTC: two local times of one zone compare by the clock on the wall,
which shows the same hour twice on the day that has 25.
"""

import hashlib
import math
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Final, Literal, cast

from claimbus.events.bodies import Body, decoded, encoded
from claimbus.events.catalogue import lookup
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import Audience, Event, format_time, parse_time

ChangeKind = Literal["created", "changed", "status-changed", "ended", "cancelled"]


@dataclass(frozen=True, slots=True, order=True)
class Curtailment:
    """``mw`` that cannot be generated from ``start`` to ``end`` (aware; kept in UTC)."""

    start: datetime
    end: datetime
    mw: float

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            moment: datetime = getattr(self, name)
            if moment.utcoffset() is None:
                raise InvalidInputError(name, "is naive; give it a time zone")
            object.__setattr__(self, name, moment.astimezone(UTC))
        if self.end < self.start:
            raise InvalidInputError("end", "is before the start")
        object.__setattr__(self, "mw", _megawatts("mw", self.mw))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One outage of one resource, with its curtailment over time in order of start.

    ``nature_of_work`` and ``status`` are the outage system's own codes, passed through; ``status`` is None
    when the source tells none.
    """

    mrid: str
    resource_id: str
    resource_name: str
    outage_type: str
    nature_of_work: str
    status: str | None = None
    pmax_mw: float
    net_qualifying_capacity_mw: float
    curtailments: tuple[Curtailment, ...]

    def __post_init__(self) -> None:
        if not self.curtailments:
            raise InvalidInputError("curtailments", "is empty")
        object.__setattr__(self, "curtailments", tuple(sorted(set(self.curtailments))))
        for name in ("pmax_mw", "net_qualifying_capacity_mw"):
            object.__setattr__(self, name, _megawatts(name, getattr(self, name)))

    @property
    def end(self) -> datetime:
        """When the last curtailment ends."""
        return max(curtailment.end for curtailment in self.curtailments)

    def body(self) -> Body:
        """Return the JSON object."""
        body: Body = {name: getattr(self, name) for name in _FIELDS}
        body["curtailments"] = [
            {"start": format_time(row.start), "end": format_time(row.end), "mw": row.mw}
            for row in self.curtailments
        ]
        return body

    @classmethod
    def from_body(cls, body: Body) -> "Outage":
        """Read an outage from the body of an event, newest version, that has passed its schema."""
        rows = body["curtailments"]
        attributes = {name: body[name] for name in _FIELDS}
        attributes["curtailments"] = tuple(
            Curtailment(parse_time(row["start"]), parse_time(row["end"]), row["mw"]) for row in rows
        )
        return cls(**attributes)

    def to_bytes(self) -> bytes:
        """Return the body's bytes, which are the same for equal outages."""
        return encoded(self.body())

    @classmethod
    def from_bytes(cls, record: bytes) -> "Outage":
        """Read `to_bytes`. Raises InvalidInputError for anything else."""
        try:
            return cls.from_body(decoded(record))
        except (LookupError, TypeError, OverflowError) as wrong:
            raise InvalidInputError("outage", "is no outage record") from wrong

    @property
    def fingerprint(self) -> str:
        """128 bits in hexadecimal, the same for equal outages and in practice for no others."""
        return hashlib.blake2b(self.to_bytes(), digest_size=16).hexdigest()


_FIELDS: Final = tuple(field.name for field in fields(Outage))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of an outage from one snapshot to the next.

    ``before`` is None when it was not in the earlier snapshot, ``after`` when it is not in the later one.
    """

    kind: ChangeKind
    before: Outage | None
    after: Outage | None

    @property
    def outage(self) -> Outage:
        """The outage as it is now or, when it has vanished, as it was last seen."""
        return cast("Outage", self.after or self.before)

    @property
    def mrid(self) -> str:
        """The outage's MRID."""
        return self.outage.mrid

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that differ; none when a side is missing."""
        if self.before is None or self.after is None:
            return ()
        return tuple(name for name in _FIELDS if getattr(self.before, name) != getattr(self.after, name))


def differences(
    before: Mapping[str, Outage],
    after: Mapping[str, Outage],
    *,
    at: datetime,
    departed: Container[str] = (),
    unread: Collection[str] = (),
) -> list[Change]:
    """Return the changes from one snapshot (by MRID) to the next, which was taken ``at``, by MRID.

    An outage that vanished has ``ended`` if its end had passed by then, else it is ``cancelled``. One that
    returns after it vanished earlier (``departed``) is ``changed``. One whose status differs is
    ``status-changed``, whatever else differs. Those ``unread`` are left as they were: the later snapshot
    cannot be trusted about them.
    """
    found = []
    for mrid in sorted(before.keys() | after.keys()):
        old, new = before.get(mrid), after.get(mrid)
        if old != new and mrid not in unread:
            returned = mrid in departed
            found.append(Change(kind=_kind(old, new, at, returned=returned), before=old, after=new))
    return found


def _kind(before: Outage | None, after: Outage | None, at: datetime, *, returned: bool) -> ChangeKind:
    if before is None:
        return "changed" if returned else "created"
    if after is None:
        return "ended" if before.end <= at else "cancelled"
    return "changed" if before.status == after.status else "status-changed"


def apply(before: Mapping[str, Outage], changes: Iterable[Change]) -> dict[str, Outage]:
    """Return the snapshot that `differences` compared ``before`` with."""
    after = dict(before)
    for change in changes:
        if change.after is None:
            del after[change.mrid]
        else:
            after[change.mrid] = change.after
    return after


def outage_event(change: Change, *, sequence: int, source: str, audience: Audience, at: datetime) -> Event:
    """Return the event that tells a change; ``sequence`` is the outage's own count of its changes."""
    body = change.outage.body()
    if change.kind in ("changed", "status-changed"):
        body["changed_fields"] = list(change.fields)
    if change.kind == "status-changed" and change.before is not None:
        body["previous_status"] = change.before.status
    if change.kind == "changed" and change.before is None:
        body["returned"] = True
    kind = lookup(f"oms.resource-outage.{change.kind}")
    return Event(
        type=kind.name,
        source=source,
        id=f"{change.mrid}-{sequence}",
        time=at,
        body=encoded(body),
        audience=audience,
        subject=change.outage.resource_id,
        dataschema=kind.newest.uri,
        partitionkey=change.mrid,
        sequence=sequence,
    )


def _megawatts(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise InvalidInputError(name, f"is no power of 0 MW or more: {value}")
    return float(value) + 0.0  # makes -0.0, which equals 0.0, the same bytes too
