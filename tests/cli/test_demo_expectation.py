"""The independent expectation, against feeds small enough to know the answer by hand."""

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.cli.demo.expectation import (
    Identity,
    MarketEvent,
    Owner,
    deal_owners,
    expect,
    matches,
    read_owners,
    write_owners,
)
from claimbus.cli.demo.report import Outage, Snapshot, midnight
from claimbus.events import routing

FIRST = date(2026, 3, 7)
ONE = {"ONE_PARTICIPANT": ("#",)}
LONG_AGO = date(2020, 1, 1)


def outage(
    *,
    resource: str = "R1",
    status: str = "OUT",
    nature: str = "TEST",
    mw: float = 10.0,
    end: datetime | None = None,
) -> Outage:
    start = datetime(2026, 3, 1, 8, tzinfo=UTC)
    return Outage(
        texts=("A NAME", resource, "FORCED", nature, status),
        limits=(50.0, 40.0),
        curtailments=frozenset({(start, end or datetime(2026, 12, 31, tzinfo=UTC), mw)}),
    )


def days(*contents: dict[str, Outage]) -> list[Snapshot]:
    dates = [FIRST + timedelta(days=number) for number in range(len(contents))]
    return [Snapshot(day, midnight(day), dict(content)) for day, content in zip(dates, contents, strict=True)]


def story(*contents: dict[str, Outage]) -> list[str]:
    """The events of all outages on R1 in order, without their common prefix."""
    return told(days(*contents))


def told(snapshots: list[Snapshot]) -> list[str]:
    owners = [Owner("An organisation", "ONE_PARTICIPANT", "R1", LONG_AGO, None)]
    events = expect(snapshots, owners, [], ONE).audience
    return [
        f"{event.type.removeprefix('oms.resource-outage.')} {event.about}/{event.number}" for event in events
    ]


def test_the_first_snapshot_creates_every_outage() -> None:
    assert story({"1": outage(), "2": outage()}) == ["created 1/1", "created 2/1"]


def test_the_same_again_is_no_event() -> None:
    assert story({"1": outage()}, {"1": outage()}) == ["created 1/1"]


@pytest.mark.parametrize(
    "after", [outage(mw=11), outage(nature="OTHER"), outage(end=datetime(2026, 12, 30, tzinfo=UTC))]
)
def test_other_mw_dates_or_nature_are_a_change(after: Outage) -> None:
    assert story({"1": outage()}, {"1": after}) == ["created 1/1", "changed 1/2"]


def test_another_status_is_a_status_change_whatever_else_changed() -> None:
    assert story({"1": outage()}, {"1": outage(status="IN SERVICE", mw=1)}) == [
        "created 1/1",
        "status-changed 1/2",
    ]


def test_what_vanishes_after_its_end_ended_and_before_it_was_cancelled() -> None:
    at = days({}, {})[1].at
    ended, cancelled = outage(end=at), outage(end=at + timedelta(minutes=1))
    assert story({"1": ended, "2": cancelled}, {})[2:] == ["ended 1/2", "cancelled 2/2"]


def test_the_short_day_is_over_an_hour_earlier() -> None:
    _, short_day, after = days({}, {}, {})
    assert short_day.trade_date == date(2026, 3, 8)
    assert after.at - short_day.at == timedelta(hours=23)
    last_hour = outage(end=short_day.at + timedelta(hours=23))
    assert story({}, {"1": last_hour}, {}) == ["created 1/1", "ended 1/2"]


def test_what_returns_is_changed_even_when_its_status_did() -> None:
    assert story({"1": outage()}, {}, {"1": outage()}) == ["created 1/1", "cancelled 1/2", "changed 1/3"]
    assert story({"1": outage()}, {}, {"1": outage(status="STUDY")})[-1] == "changed 1/3"


def test_what_returned_can_vanish_again() -> None:
    assert story({"1": outage()}, {}, {"1": outage()}, {}, {})[-1] == "cancelled 1/4"


def test_a_malformed_row_leaves_its_outage_as_it_was() -> None:
    def third_day(content: dict[str, Outage], malformed: list[tuple[str, str]]) -> list[str]:
        snapshots = days({"1": outage(), "2": outage()}, content, {"1": outage(), "2": outage()})
        snapshots[1].malformed = malformed
        return told(snapshots)[2:]

    assert third_day({"2": outage()}, [("1", "R1")]) == []
    assert third_day({"1": outage(mw=3), "2": outage(mw=3)}, [("1", "R1")]) == ["changed 2/2", "changed 2/3"]
    assert third_day({"1": outage(mw=3)}, [("", "R1")]) == []
    assert third_day({"1": outage(mw=3)}, [("", "")]) == ["changed 1/2", "changed 1/3"]
    assert third_day({"2": outage()}, [("", "R2")]) == ["cancelled 1/2", "changed 1/3"]


def test_an_event_goes_to_whoever_owns_the_resource_on_that_day() -> None:
    sold = FIRST + timedelta(days=1)
    owners = [
        Owner("Seller", "SELLER", "R1", LONG_AGO, sold),
        Owner("Buyer", "BUYER", "R1", sold, None),
        Owner("Partner", "PARTNER", "R1", LONG_AGO, None),
        Owner("Other", "OTHER", "R2", LONG_AGO, None),
    ]
    everybody = dict.fromkeys(["SELLER", "BUYER", "PARTNER", "OTHER"], ("oms.#",))
    found = expect(days({"1": outage()}, {"1": outage(mw=1)}), owners, [], everybody)
    created, changed = found.audience
    assert found.audience[created] == frozenset({"SELLER", "PARTNER"})
    assert found.audience[changed] == frozenset({"BUYER", "PARTNER"})
    assert found.due == {
        "SELLER": {created},
        "BUYER": {changed},
        "PARTNER": {created, changed},
        "OTHER": set(),
    }


def test_an_outage_of_a_resource_without_owner_is_parked_and_due_to_nobody() -> None:
    found = expect(days({"1": outage(resource="R9")}), [], [], ONE)
    assert found.parked == {Identity("oms.resource-outage.created", "1", 1)}
    assert found.audience == {}
    assert found.due == {"ONE_PARTICIPANT": frozenset()}


def test_market_events_are_for_everybody_who_subscribed() -> None:
    closed = MarketEvent("market.dam.closed", FIRST)
    hourly = MarketEvent("market.rtm.closed", FIRST, 18)
    found = expect(
        days({}), [], [closed, hourly], {"A_DAM": ("market.dam.*",), "B_OMS": ("oms.#",), "C_ALL": ("#",)}
    )
    dam = Identity("market.dam.closed", "2026-03-07", None)
    rtm = Identity("market.rtm.closed", "2026-03-07", 18)
    assert found.audience == {dam: None, rtm: None}
    assert found.due == {"A_DAM": {dam}, "B_OMS": set(), "C_ALL": {dam, rtm}}
    assert found.daily == {FIRST: 2}


outages = st.builds(
    outage,
    status=st.sampled_from(["OUT", "STUDY"]),
    mw=st.sampled_from([1.0, 2.0]),
    end=st.sampled_from([datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC)]),
)


@given(st.lists(st.dictionaries(st.sampled_from("123"), outages), min_size=1, max_size=6))
def test_the_events_of_an_outage_are_numbered_and_tell_when_it_is_there(
    contents: list[dict[str, Outage]],
) -> None:
    by_outage: dict[str, list[Identity]] = defaultdict(list)
    owners = [Owner("An organisation", "ONE_PARTICIPANT", "R1", LONG_AGO, None)]
    for event in expect(days(*contents), owners, [], ONE).audience:
        by_outage[event.about].append(event)
    assert by_outage.keys() == {mrid for content in contents for mrid in content}
    for mrid, events in by_outage.items():
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        kinds = [event.type.rpartition(".")[2] for event in events]
        assert kinds[0] == "created"
        assert "created" not in kinds[1:]
        presence = [mrid in content for content in contents]
        vanished = sum(before and not after for before, after in pairwise(presence))
        assert sum(kind in ("ended", "cancelled") for kind in kinds) == vanished
        assert (kinds[-1] in ("ended", "cancelled")) == (not presence[-1])


@given(st.lists(st.dictionaries(st.sampled_from("123"), outages), min_size=1, max_size=4))
def test_saying_the_last_snapshot_again_tells_nothing_new(contents: list[dict[str, Outage]]) -> None:
    assert story(*contents, contents[-1]) == story(*contents)


WORDS = ["oms", "market", "dam", "closed", "resource-outage", "*", "#"]


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(".".join),
    st.lists(st.sampled_from(WORDS[:-2]), min_size=3, max_size=3).map(".".join),
)
def test_two_independent_topic_matchers_agree(pattern: str, event_type: str) -> None:
    assert matches(pattern, event_type) == routing.matches(pattern, event_type)


def test_owners_are_dealt_by_a_fixed_hash_and_survive_their_file(tmp_path: Path) -> None:
    snapshots = days({str(number): outage(resource=f"R{number}") for number in range(400)})
    participants = {f"P_{number}": f"Organisation {number}" for number in range(4)}
    dealt = deal_owners(snapshots, participants)
    assert dealt == deal_owners(snapshots, participants)
    assert [owner.participant for owner in dealt[:4]] == ["P_2", "P_1", "P_3", "P_3"]
    assert min(Counter(owner.participant for owner in dealt).values()) > 70
    write_owners(dealt, tmp_path / "owners.csv")
    assert read_owners(tmp_path / "owners.csv") == dealt
