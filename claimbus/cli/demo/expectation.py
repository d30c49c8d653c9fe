"""What the demo must see happen, computed from the report, the owners and the calendar alone.

The independent side of the demo's verdict: it imports nothing of the product, so that a mistake there is not
repeated here.
"""

import csv
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple

from claimbus.cli.demo.report import Outage, Snapshot


class Identity(NamedTuple):
    """What makes two events one: of an outage its MRID and sequence, of a market its trade date and hour."""

    type: str
    about: str
    number: int | None


class Owner(NamedTuple):
    """A line of the owners file. ``valid_to`` is the first day on which it no longer holds, if any."""

    organisation: str
    participant: str
    resource_id: str
    valid_from: date
    valid_to: date | None


class MarketEvent(NamedTuple):
    """A line of the market calendar; ``hour`` is the trade hour of the hourly markets."""

    type: str
    trade_date: date
    hour: int | None = None


@dataclass(frozen=True)
class Expectation:
    """What must be published, and what each participant must receive.

    ``audience`` has every event to be published and the participants who may see it, None for everybody;
    ``due`` the events among them that a participant subscribed to; ``parked`` those on resources that
    nobody owns, to be published nowhere; ``daily`` how many are to be published per trade date.
    ``malformed`` counts the rows that tell nothing.
    """

    audience: Mapping[Identity, frozenset[str] | None]
    due: Mapping[str, frozenset[Identity]]
    parked: frozenset[Identity]
    daily: Mapping[date, int]
    malformed: int


def expect(
    snapshots: Sequence[Snapshot],
    owners: Iterable[Owner],
    calendar: Iterable[MarketEvent],
    subscriptions: Mapping[str, Iterable[str]],
) -> Expectation:
    """Compute the expectation; ``subscriptions`` are the event-type patterns of each participant."""
    owned = defaultdict(list)
    for owner in owners:
        owned[owner.resource_id].append(owner)
    audience: dict[Identity, frozenset[str] | None] = {}
    parked: set[Identity] = set()
    daily: Counter[date] = Counter()
    for day, identity, resource_id in _outage_events(snapshots):
        entitled = frozenset(owner.participant for owner in owned[resource_id] if _holds(owner, day))
        if entitled:
            audience[identity] = entitled
            daily[day] += 1
        else:
            parked.add(identity)
    for event in calendar:
        audience[Identity(event.type, event.trade_date.isoformat(), event.hour)] = None
        daily[event.trade_date] += 1
    return Expectation(
        audience=audience,
        due=_due(audience, subscriptions),
        parked=frozenset(parked),
        daily=daily,
        malformed=sum(len(snapshot.malformed) for snapshot in snapshots),
    )


def _holds(owner: Owner, day: date) -> bool:
    return owner.valid_from <= day and (owner.valid_to is None or day < owner.valid_to)


def _outage_events(snapshots: Iterable[Snapshot]) -> Iterator[tuple[date, Identity, str]]:
    """Yield trade date, event and resource ID of each difference from one snapshot to the next."""
    known: dict[str, Outage] = {}
    gone: set[str] = set()
    sequences: Counter[str] = Counter()
    for snapshot in snapshots:
        kinds: dict[str, str | None] = {}
        for mrid, outage in snapshot.outages.items():
            if not snapshot.doubts(mrid, outage.resource_id):
                kinds[mrid] = _kind(known.get(mrid), outage, returned=mrid in gone)
                known[mrid] = outage
                gone.discard(mrid)
        for mrid in sorted(known.keys() - snapshot.outages.keys() - gone):
            if not snapshot.doubts(mrid, known[mrid].resource_id, vanished=True):
                kinds[mrid] = "ended" if known[mrid].end <= snapshot.at else "cancelled"
                gone.add(mrid)
        for mrid, kind in kinds.items():
            if kind is not None:
                sequences[mrid] += 1
                event = Identity(f"oms.resource-outage.{kind}", mrid, sequences[mrid])
                yield snapshot.trade_date, event, known[mrid].resource_id


def _kind(before: Outage | None, after: Outage, *, returned: bool) -> str | None:
    if before is None:
        return "created"
    if before.status != after.status and not returned:
        return "status-changed"
    return "changed" if returned or before != after else None


def _due(
    audience: Mapping[Identity, frozenset[str] | None], subscriptions: Mapping[str, Iterable[str]]
) -> dict[str, frozenset[Identity]]:
    types = {event.type for event in audience}
    wanted = {
        participant: {type_ for type_ in types if any(matches(pattern, type_) for pattern in patterns)}
        for participant, patterns in subscriptions.items()
    }
    due: dict[str, set[Identity]] = {participant: set() for participant in wanted}
    for event, entitled in audience.items():
        for participant in wanted if entitled is None else entitled & wanted.keys():
            if event.type in wanted[participant]:
                due[participant].add(event)
    return {participant: frozenset(events) for participant, events in due.items()}


def matches(pattern: str, event_type: str) -> bool:
    """Tell whether a pattern covers an event type: ``*`` is one word, ``#`` any number of words."""
    wild = {"*": r"\.[^.]+", "#": r"(?:\.[^.]+)*"}
    expression = "".join(wild.get(word, re.escape(f".{word}")) for word in pattern.split("."))
    return re.fullmatch(expression, f".{event_type}") is not None


def read_owners(path: Path) -> list[Owner]:
    """Read an owners file: organisation, participant, resource_id, valid_from, valid_to (may be empty).

    Raises ValueError for a file without one of these columns, and for what is no date.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file)
        for name in Owner._fields:
            if name not in (lines.fieldnames or ()):
                raise ValueError(f"{path.name}: line 1: there is no column {name}")
        return [
            Owner(
                organisation=line["organisation"],
                participant=line["participant"],
                resource_id=line["resource_id"],
                valid_from=date.fromisoformat(line["valid_from"]),
                valid_to=date.fromisoformat(line["valid_to"]) if line["valid_to"] else None,
            )
            for line in lines
        ]


def participants_of(owners: Iterable[Owner]) -> dict[str, str]:
    """Return the organisation of each participant, in order of their IDs."""
    return {
        owner.participant: owner.organisation for owner in sorted(owners, key=lambda owner: owner.participant)
    }


def deal_owners(snapshots: Iterable[Snapshot], participants: Mapping[str, str]) -> list[Owner]:
    """Give each resource to one participant, by a fixed hash of its ID.

    ``participants`` maps participant IDs to their organisations, in a fixed order.
    """
    ids = list(participants)
    resources = {outage.resource_id for snapshot in snapshots for outage in snapshot.outages.values()}
    dealt = []
    for resource_id in sorted(resources):
        digest = hashlib.sha256(resource_id.encode()).digest()
        participant = ids[int.from_bytes(digest[:8], "big") % len(ids)]
        dealt.append(Owner(participants[participant], participant, resource_id, date(2000, 1, 1), None))
    return dealt


def write_owners(owners: Iterable[Owner], path: Path) -> None:
    """Write an owners file, as `read_owners` reads it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(Owner._fields)
        lines.writerows(owners)
