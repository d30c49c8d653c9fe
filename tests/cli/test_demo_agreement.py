"""Two readings of one report that share no code, the demo's and the product's, find the same events."""

from collections import Counter
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimbus.cli.demo.expectation import Identity, expect
from claimbus.cli.demo.make_sample import FEED, FEED_COLUMNS
from claimbus.cli.demo.report import read_report
from claimbus.events import outages
from claimbus.events.errors import InvalidFeedError
from producers import feed

DAYS = st.sampled_from([date(2026, 3, 6), date(2026, 10, 30), date(2026, 6, 1)]).map(
    lambda first: [first + timedelta(days=number) for number in range(4)]
)
HOURS = st.builds(time, st.integers(0, 3), st.sampled_from([0, 30]))


@st.composite
def reports(draw: st.DrawFn) -> str:
    """Four days of a few outages, around a change of the clock or not, some rows malformed."""
    days = draw(DAYS)
    lines = [",".join(FEED_COLUMNS)]
    for day in days:
        for mrid in draw(st.lists(st.sampled_from("123456"), max_size=9)):
            start = datetime.combine(draw(st.sampled_from(days)), draw(HOURS))
            end = start + timedelta(minutes=draw(st.sampled_from([0, 30, 60, 1440, -30])))
            cells = [str(day), mrid, "HILL", f"R{int(mrid) % 3}", "FORCED", "TESTING"]
            cells += [
                draw(st.sampled_from(["OUT", "OUT", "STUDY"])),
                *(f"{at:%Y-%m-%d %H:%M}" for at in (start, end)),
            ]
            cells += [draw(st.sampled_from(["1", "1.0", "2"])), "5", draw(st.sampled_from(["4", "4", "3"]))]
            spoiled = draw(st.sampled_from([*[0] * 12, 1, 3, 5, 7, 9, 10]))
            if spoiled:
                cells[spoiled] = draw(st.sampled_from(["", "x"]))
            lines.append(",".join(cells))
    return "\n".join(lines) + "\n"


def found_by_the_product(path: Path) -> set[Identity]:
    known: dict[str, outages.Outage] = {}
    departed: set[str] = set()
    sequences: Counter[str] = Counter()
    found: set[Identity] = set()
    for snapshot in feed.read(path):
        unread = snapshot.unread(known)
        for change in outages.differences(
            known, snapshot.outages, at=snapshot.at, departed=departed, unread=unread
        ):
            sequences[change.mrid] += 1
            found.add(Identity(f"oms.resource-outage.{change.kind}", change.mrid, sequences[change.mrid]))
            if change.after is None:
                departed.add(change.mrid)
                del known[change.mrid]
            else:
                departed.discard(change.mrid)
                known[change.mrid] = change.after
    return found


def found_by_the_demo(path: Path) -> frozenset[Identity]:
    return expect(read_report([path]), [], [], {}).parked  # nobody owns anything, so all of it


def test_they_agree_on_the_sample() -> None:
    assert len(found_by_the_demo(FEED)) > 200
    assert found_by_the_product(FEED) == found_by_the_demo(FEED)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(reports())
def test_they_agree_on_any_report(tmp_path: Path, report: str) -> None:
    path = tmp_path / "report.csv"
    path.write_text(report)
    try:
        found = found_by_the_product(path)
    except InvalidFeedError:  # a day of which no row can be read: not believed, so nothing to compare
        return
    assert found == found_by_the_demo(path)


@pytest.mark.parametrize("name", ["report.csv", "report-20260308.csv", "report_2026-11-01.csv"])
@pytest.mark.parametrize("dated", [True, False])
def test_they_agree_on_when_a_snapshot_holds(tmp_path: Path, name: str, dated: bool) -> None:
    lines = FEED.read_text().splitlines()
    if not dated:
        lines = [line.partition(",")[2] for line in lines[:60]]
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    assert [found.at for found in read_report([path])] == [found.at for found in feed.read(path)]
