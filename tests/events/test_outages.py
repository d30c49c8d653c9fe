from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.events.bodies import decoded, encoded
from claimbus.events.catalogue import check
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import ALL
from claimbus.events.outages import Change, Curtailment, Outage, apply, differences, outage_event
from tests.events.strategies import NEW_YEAR, minutes, outages, snapshots

Snapshot = dict[str, Outage]

NOON = NEW_YEAR + timedelta(hours=12)
OUT = Outage(
    mrid="15120034",
    resource_id="SUNRIV_2_UNIT 1",
    resource_name="SUN RIVER UNIT 1",
    outage_type="FORCED",
    nature_of_work="PLANT_TROUBLE",
    status="APPROVED",
    pmax_mw=150.0,
    net_qualifying_capacity_mw=120.5,
    curtailments=(Curtailment(NEW_YEAR, NOON, 150.0),),
)


def between(before: Outage | None, after: Outage | None, *, departed: bool = False) -> Change:
    """The one change from a snapshot with or without an outage to the next, taken at noon."""
    [change] = differences(
        {OUT.mrid: before} if before else {},
        {OUT.mrid: after} if after else {},
        at=NOON,
        departed={OUT.mrid} if departed else (),
    )
    return change


mrids = st.frozensets(st.sampled_from([f"1512003{n}" for n in range(5)]))


@given(snapshots, snapshots, minutes, mrids)
def test_applying_the_differences_to_the_old_snapshot_gives_the_new(
    before: Snapshot, after: Snapshot, at: datetime, departed: frozenset[str]
) -> None:
    assert apply(before, differences(before, after, at=at, departed=departed)) == after


@given(snapshots, minutes, mrids)
def test_equal_snapshots_do_not_differ(snapshot: Snapshot, at: datetime, departed: frozenset[str]) -> None:
    again = {mrid: Outage.from_bytes(outage.to_bytes()) for mrid, outage in snapshot.items()}
    assert differences(snapshot, again, at=at, departed=departed) == []


@given(snapshots, snapshots, minutes, mrids, mrids)
def test_an_outage_that_could_not_be_read_stays_as_it_was(
    before: Snapshot, after: Snapshot, at: datetime, departed: frozenset[str], unread: frozenset[str]
) -> None:
    applied = apply(before, differences(before, after, at=at, departed=departed, unread=unread))
    for mrid in before.keys() | after.keys():
        assert applied.get(mrid) == (before if mrid in unread else after).get(mrid)


@given(snapshots, snapshots, minutes)
def test_the_order_of_the_outages_does_not_matter(before: Snapshot, after: Snapshot, at: datetime) -> None:
    def backwards(snapshot: Snapshot) -> Snapshot:
        return dict(reversed(snapshot.items()))

    assert differences(before, after, at=at) == differences(backwards(before), backwards(after), at=at)


@given(outages, st.randoms())
def test_the_order_and_the_repetition_of_rows_do_not_matter(outage: Outage, random: Random) -> None:
    rows = [*outage.curtailments, *outage.curtailments]
    random.shuffle(rows)
    assert replace(outage, curtailments=tuple(rows)) == outage


@given(outages, outages)
def test_outages_are_equal_exactly_when_their_bytes_and_fingerprints_are(one: Outage, other: Outage) -> None:
    assert (one == other) == (one.to_bytes() == other.to_bytes()) == (one.fingerprint == other.fingerprint)


def test_minus_zero_is_zero() -> None:
    zero, minus = (
        replace(OUT, pmax_mw=mw, curtailments=(Curtailment(NEW_YEAR, NOON, mw),)) for mw in (0.0, -0.0)
    )
    assert zero.fingerprint == minus.fingerprint


@given(outages)
def test_an_outage_comes_back_from_its_bytes_and_its_body(outage: Outage) -> None:
    assert Outage.from_bytes(outage.to_bytes()) == outage
    assert Outage.from_body(decoded(encoded(outage.body()))) == outage


@pytest.mark.parametrize("record", [b"", b"{}", b"[]", b"7", OUT.to_bytes().replace(b"150.0", b'"all"')])
def test_bytes_that_are_no_outage_are_refused(record: bytes) -> None:
    with pytest.raises(InvalidInputError):
        Outage.from_bytes(record)


def test_an_outage_that_was_not_there_is_created() -> None:
    change = between(None, OUT)
    assert (change.kind, change.mrid, change.outage, change.fields) == ("created", OUT.mrid, OUT, ())


CHANGES: list[tuple[str, Callable[[Outage], Outage]]] = [
    ("curtailments", lambda out: replace(out, curtailments=(Curtailment(NEW_YEAR, NOON, 149.0),))),
    (
        "curtailments",
        lambda out: replace(out, curtailments=(*out.curtailments, Curtailment(NOON, NOON, 1.0))),
    ),
    ("nature_of_work", lambda out: replace(out, nature_of_work="UNIT_TESTING")),
    ("outage_type", lambda out: replace(out, outage_type="PLANNED")),
    ("resource_name", lambda out: replace(out, resource_name="SUN RIVER 1")),
    ("pmax_mw", lambda out: replace(out, pmax_mw=151.0)),
    ("net_qualifying_capacity_mw", lambda out: replace(out, net_qualifying_capacity_mw=0.0)),
]


@pytest.mark.parametrize(("field", "altered"), CHANGES)
def test_a_change_names_its_field(field: str, altered: Callable[[Outage], Outage]) -> None:
    change = between(OUT, altered(OUT))
    assert (change.kind, change.fields) == ("changed", (field,))


@pytest.mark.parametrize("status", ["OUT", None])
def test_another_status_is_a_status_change_whatever_else_changed(status: str | None) -> None:
    change = between(OUT, replace(OUT, status=status, pmax_mw=1.0))
    assert (change.kind, change.fields) == ("status-changed", ("status", "pmax_mw"))


@pytest.mark.parametrize(("late", "kind"), [(-1, "ended"), (0, "ended"), (1, "cancelled")])
def test_a_vanished_outage_has_ended_if_its_last_end_has_passed(late: int, kind: str) -> None:
    last = Curtailment(NEW_YEAR, NOON + timedelta(minutes=late), 1.0)
    early = Curtailment(NEW_YEAR, NEW_YEAR, 150.0)
    gone = replace(OUT, curtailments=(last, early))
    change = between(gone, None)
    assert (change.kind, change.outage) == (kind, gone)


def test_an_outage_that_returns_is_changed() -> None:
    change = between(None, OUT, departed=True)
    assert (change.kind, change.before, change.after) == ("changed", None, OUT)


def test_the_same_reading_of_the_clock_an_hour_later_is_a_change() -> None:
    zone = ZoneInfo("America/Los_Angeles")
    first = datetime(2026, 11, 1, 1, 30, tzinfo=zone)
    again = first.replace(fold=1)
    assert first == again  # how Python compares two local times of one zone
    ends = [replace(OUT, curtailments=(Curtailment(NEW_YEAR, end, 1.0),)) for end in (first, again)]
    assert between(*ends).fields == ("curtailments",)


@pytest.mark.parametrize("mw", [-0.1, float("nan"), float("inf")])
def test_a_power_that_cannot_be_is_refused(mw: float) -> None:
    with pytest.raises(InvalidInputError, match="mw"):
        Curtailment(NEW_YEAR, NOON, mw)
    with pytest.raises(InvalidInputError, match="pmax_mw"):
        replace(OUT, pmax_mw=mw)


@pytest.mark.parametrize(
    ("start", "end", "field"), [(NOON, NEW_YEAR, "end"), (NOON.replace(tzinfo=None), NOON, "start")]
)
def test_times_that_cannot_be_are_refused(start: datetime, end: datetime, field: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        Curtailment(start, end, 1.0)
    assert refused.value.field == field


def test_an_outage_without_curtailment_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="curtailments"):
        replace(OUT, curtailments=())


@given(snapshots, snapshots, minutes, mrids)
def test_the_event_of_every_change_is_accepted_by_the_catalogue(
    before: Snapshot, after: Snapshot, at: datetime, departed: frozenset[str]
) -> None:
    for change in differences(before, after, at=at, departed=departed):
        event = outage_event(change, sequence=7, source="/production/oms", audience=ALL, at=at)
        check(event)
        assert event.type == f"oms.resource-outage.{change.kind}"
        assert (event.id, event.partitionkey, event.sequence) == (f"{change.mrid}-7", change.mrid, 7)
        assert (event.time, event.subject) == (at, change.outage.resource_id)
        assert Outage.from_body(decoded(event.body)) == change.outage


def body_of(change: Change) -> dict[str, object]:
    event = outage_event(change, sequence=2, source="/oms", audience=ALL, at=NOON)
    body: dict[str, object] = decoded(event.body)
    return {name: value for name, value in body.items() if name not in OUT.body()}


def test_the_body_tells_what_changed() -> None:
    assert body_of(between(None, OUT)) == {}
    assert body_of(between(OUT, replace(OUT, pmax_mw=1.0))) == {"changed_fields": ["pmax_mw"]}
    assert body_of(between(OUT, replace(OUT, status="OUT"))) == {
        "changed_fields": ["status"],
        "previous_status": "APPROVED",
    }
    assert body_of(between(None, OUT, departed=True)) == {"changed_fields": [], "returned": True}
    assert body_of(between(OUT, None)) == {}


def test_times_in_the_body_are_utc_and_power_is_a_number() -> None:
    start = datetime(2026, 1, 15, 0, 0, tzinfo=ZoneInfo("America/Los_Angeles"))
    out = replace(OUT, curtailments=(Curtailment(start, start + timedelta(hours=1), 40),))
    assert out.body()["curtailments"] == [
        {"start": "2026-01-15T08:00:00Z", "end": "2026-01-15T09:00:00Z", "mw": 40.0}
    ]
    assert out.end == datetime(2026, 1, 15, 9, tzinfo=UTC)
