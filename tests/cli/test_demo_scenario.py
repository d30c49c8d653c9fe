"""What a run of the demo plays, as its options choose it."""

from pathlib import Path

import pytest

from claimbus.cli.demo.make_sample import FEED, OWNERS, PARTICIPANTS
from claimbus.cli.demo.plan import FEWEST
from claimbus.cli.demo.scenario import PARTICIPANTS as USUAL
from claimbus.cli.demo.scenario import make_scenario


def test_the_sample_comes_with_its_owners() -> None:
    scenario = make_scenario()
    assert scenario.report == FEED
    assert scenario.participants == PARTICIPANTS
    assert len(scenario.trade_dates) == 6


def test_of_another_report_the_resources_are_dealt_by_a_fixed_hash(tmp_path: Path) -> None:
    report = tmp_path / "report.csv"
    report.write_text(FEED.read_text())
    scenario = make_scenario(report)
    assert scenario == make_scenario(report)
    assert len(scenario.participants) == USUAL
    assert not scenario.participants.keys() & PARTICIPANTS.keys()
    assert {owner.participant for owner in scenario.owners} <= scenario.participants.keys()
    assert not scenario.expectation.parked


@pytest.mark.parametrize("participants", [FEWEST, 60])
def test_so_many_participants_as_asked_for_take_part(participants: int) -> None:
    scenario = make_scenario(participants=participants)
    assert len(scenario.plan.participants) == len(scenario.expectation.due) == participants


def test_a_report_can_have_the_owners_that_a_file_names() -> None:
    assert make_scenario(FEED, owners_file=OWNERS) == make_scenario()


def test_only_the_first_trade_dates_are_played() -> None:
    whole, short = make_scenario(), make_scenario(days=2)
    assert short.trade_dates == whole.trade_dates[:2]
    assert {event.trade_date for event in short.plan.calendar} == set(short.trade_dates)
    assert short.expectation.audience.items() < whole.expectation.audience.items()


def test_an_owners_file_without_a_column_says_so(tmp_path: Path) -> None:
    owners = tmp_path / "owners.csv"
    owners.write_text("organisation,participant,resource_id,valid_from\n")
    with pytest.raises(ValueError, match=r"owners\.csv: line 1: there is no column valid_to"):
        make_scenario(owners_file=owners)
