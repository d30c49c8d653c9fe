"""What one run of the demo plays: a report, who owns what, and what must come of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from claimbus.cli.demo.expectation import (
    Expectation,
    MarketEvent,
    Owner,
    deal_owners,
    expect,
    participants_of,
    read_owners,
)
from claimbus.cli.demo.make_sample import FEED, OWNERS
from claimbus.cli.demo.plan import Plan, made_up_participants, make_plan
from claimbus.cli.demo.report import read_report

PARTICIPANTS: Final = 20


@dataclass(frozen=True, slots=True)
class Scenario:
    """``participants`` maps each ID to its organisation; ``owners`` are the lines of the owners file."""

    report: Path
    trade_dates: tuple[date, ...]
    participants: Mapping[str, str]
    owners: tuple[Owner, ...]
    plan: Plan
    expectation: Expectation

    def market_events(self, trade_date: date) -> list[MarketEvent]:
        """Return the market events of a trade date, in their order."""
        return [event for event in self.plan.calendar if event.trade_date == trade_date]


def make_scenario(
    report: Path | None = None,
    *,
    owners_file: Path | None = None,
    days: int | None = None,
    participants: int | None = None,
) -> Scenario:
    """Return the scenario of a report, or of the shipped sample; of its first ``days`` trade dates.

    Without an owners file, so many made-up participants own the resources, by a fixed hash; the sample has
    its own. Raises OSError and ValueError for files that cannot be read or have too little in them.
    """
    if report is None and owners_file is None and participants is None:
        owners_file = OWNERS
    report = report or FEED
    snapshots = read_report([report], days)
    if owners_file is None:
        known = made_up_participants(participants or PARTICIPANTS)
        owners = deal_owners(snapshots, known)
    else:
        owners = read_owners(owners_file)
        known = participants_of(owners)
    trade_dates = tuple(snapshot.trade_date for snapshot in snapshots)
    plan = make_plan(known, trade_dates)
    expectation = expect(snapshots, owners, plan.calendar, plan.subscriptions)
    return Scenario(report, trade_dates, known, tuple(owners), plan, expectation)
