"""The shipped sample has everything in it that the demo wants to show."""

from collections import Counter
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from claimbus.cli.demo import make_sample
from claimbus.cli.demo.expectation import Expectation, expect, participants_of, read_owners
from claimbus.cli.demo.make_sample import FEED, OWNERS, PARTICIPANTS
from claimbus.cli.demo.plan import Plan, make_plan
from claimbus.cli.demo.report import Snapshot, read_report
from claimbus.events.event import is_participant_id


@pytest.fixture(scope="module")
def snapshots() -> list[Snapshot]:
    return read_report([FEED])


@pytest.fixture(scope="module")
def plan(snapshots: list[Snapshot]) -> Plan:
    return make_plan(participants_of(read_owners(OWNERS)), [snapshot.trade_date for snapshot in snapshots])


@pytest.fixture(scope="module")
def expectation(snapshots: list[Snapshot], plan: Plan) -> Expectation:
    return expect(snapshots, read_owners(OWNERS), plan.calendar, plan.subscriptions)


def test_the_generator_makes_the_files_as_they_are_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_sample, "DIRECTORY", tmp_path)
    monkeypatch.setattr(make_sample, "FEED", tmp_path / FEED.name)
    monkeypatch.setattr(make_sample, "OWNERS", tmp_path / OWNERS.name)
    make_sample.main()
    assert (tmp_path / FEED.name).read_bytes() == FEED.read_bytes()
    assert (tmp_path / OWNERS.name).read_bytes() == OWNERS.read_bytes()


def test_its_days_have_60_to_100_outages_and_one_of_them_23_hours(snapshots: list[Snapshot]) -> None:
    assert all(60 <= len(snapshot.outages) <= 100 for snapshot in snapshots)
    hours = [(after.at - before.at).total_seconds() / 3600 for before, after in pairwise(snapshots)]
    assert sorted(hours) == [23, 24, 24, 24, 24]


def test_every_kind_of_change_occurs_several_times(expectation: Expectation) -> None:
    kinds = Counter(
        event.type.rpartition(".")[2] for event in expectation.audience if event.type.startswith("oms.")
    )
    assert set(kinds) == {"created", "changed", "status-changed", "ended", "cancelled"}
    assert min(kinds.values()) >= 10


def test_mw_dates_and_nature_change_and_outages_return(snapshots: list[Snapshot]) -> None:
    changed: Counter[str] = Counter()
    gone: set[str] = set()
    for before, after in pairwise(snapshots):
        changed["returned"] += len(gone & after.outages.keys())
        gone |= before.outages.keys() - after.outages.keys()
        for mrid in before.outages.keys() & after.outages.keys():
            old, new = before.outages[mrid], after.outages[mrid]
            changed["nature"] += old.texts[3] != new.texts[3]
            changed["end"] += old.end != new.end
            changed["mw"] += {mw for _, _, mw in old.curtailments} != {mw for _, _, mw in new.curtailments}
            changed["status and more"] += old.status != new.status and old.curtailments != new.curtailments
    assert all(changed[kind] >= 2 for kind in ("returned", "nature", "end", "mw", "status and more")), changed


def test_its_oddities_are_there(snapshots: list[Snapshot], expectation: Expectation) -> None:
    natures = {outage.texts[3] for snapshot in snapshots for outage in snapshot.outages.values()}
    assert make_sample.UNKNOWN_NATURE in natures
    assert any(len(outage.curtailments) > 2 for outage in snapshots[0].outages.values())
    assert expectation.malformed == 1
    assert expectation.parked
    assert max(len(audience) for audience in expectation.audience.values() if audience) == 2
    owners = read_owners(OWNERS)
    assert any(owner.valid_to and owner.valid_to < snapshots[0].trade_date for owner in owners)


def test_no_time_in_it_is_one_that_the_clock_skipped() -> None:
    assert "2026-03-08 02:" not in FEED.read_text()


def test_every_participant_owns_something_and_receives_something(expectation: Expectation) -> None:
    assert list(participants_of(read_owners(OWNERS)).items()) == list(PARTICIPANTS.items())
    assert len(PARTICIPANTS) == 20
    assert len(set(PARTICIPANTS.values())) == 15
    assert all(expectation.due.values())


def test_no_participant_is_named_by_accident() -> None:
    texts = [FEED.read_text(), *(owner.resource_id for owner in read_owners(OWNERS))]
    for participant in PARTICIPANTS:
        assert is_participant_id(participant)
        assert len(participant) >= 9  # too long to occur by chance in a signature
        assert not any(participant in text for text in texts)
        assert not any(participant in other for other in PARTICIPANTS if other != participant)


def test_every_planned_fault_has_something_to_bite_on(plan: Plan, expectation: Expectation) -> None:
    due = {participant: {event.type for event in events} for participant, events in expectation.due.items()}
    for participant, fault in plan.faults.items():
        assert len(expectation.due[participant]) >= 2 * max(fault.every, 1)
        assert set(fault.types) <= due[participant]
    assert date(2026, 3, 8) in expectation.daily
