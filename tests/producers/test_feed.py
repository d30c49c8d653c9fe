import csv
import gzip
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from zipfile import ZipFile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from claimbus.events.catalogue import check
from claimbus.events.errors import InvalidFeedError
from claimbus.events.event import ALL
from claimbus.events.outages import Curtailment, Outage, apply, differences, outage_event
from producers.feed import RowProblem, Snapshot, read
from tests.events.strategies import snapshots

PACIFIC = ZoneInfo("America/Los_Angeles")
HEADER = (
    "OUTAGE MRID,RESOURCE NAME,RESOURCE ID,OUTAGE TYPE,NATURE OF WORK,CURTAILMENT START DATE TIME,"
    "CURTAILMENT END DATE TIME,CURTAILMENT MW,RESOURCE PMAX MW,NET QUALIFYING CAPACITY MW"
)
SUN_RIVER = "15120034,SUN RIVER 1,SUNRIV_2_UNIT 1,FORCED,PLANT_TROUBLE,2026-01-15"
MORNING = f"{SUN_RIVER} 00:00,2026-01-15 12:00,150,150,120.5"
EVENING = f"{SUN_RIVER} 12:00,2026-01-15 23:59,40,150,120.5"
OTHER = "15120035,MESA,MESA_7_SOLAR1,PLANNED,UNIT_TESTING,2026-01-15 08:00,2026-01-15 09:00,7.5,20,0"


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def written(folder: Path, *lines: str) -> Path:
    file = folder / "feed.csv"
    file.write_bytes(text(*lines))
    return file


def only(file: Path) -> Snapshot:
    [snapshot] = read(file)
    return snapshot


def dated(day: str, *rows: str) -> list[str]:
    return [f"{day},{row}" for row in rows]


def test_several_rows_with_one_mrid_are_one_outage(tmp_path: Path) -> None:
    snapshot = only(written(tmp_path, HEADER, EVENING, OTHER, MORNING))
    assert snapshot.problems == ()
    assert list(snapshot.outages) == ["15120034", "15120035"]
    assert snapshot.outages["15120034"] == Outage(
        mrid="15120034",
        resource_id="SUNRIV_2_UNIT 1",
        resource_name="SUN RIVER 1",
        outage_type="FORCED",
        nature_of_work="PLANT_TROUBLE",
        status=None,
        pmax_mw=150.0,
        net_qualifying_capacity_mw=120.5,
        curtailments=(
            Curtailment(at("2026-01-15T08:00"), at("2026-01-15T20:00"), 150.0),
            Curtailment(at("2026-01-15T20:00"), at("2026-01-16T07:59"), 40.0),
        ),
    )


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC)


def test_the_latest_row_tells_the_facts_that_differ_between_rows(tmp_path: Path) -> None:
    snapshot = only(written(tmp_path, HEADER, EVENING.replace("120.5", "99"), MORNING))
    assert snapshot.outages["15120034"].net_qualifying_capacity_mw == 99.0


def test_a_status_column_is_read_where_there_is_one(tmp_path: Path) -> None:
    file = written(tmp_path, f"Outage  status,{HEADER}", f"OUT,{MORNING}", f",{OTHER}")
    statuses = {mrid: outage.status for mrid, outage in only(file).outages.items()}
    assert statuses == {"15120034": "OUT", "15120035": None}


def test_columns_are_found_by_name_below_a_title(tmp_path: Path) -> None:
    order = [9, 3, 0, 1, 2, 8, 7, 6, 5, 4]

    def shuffled(line: str) -> str:
        cells = line.split(",")
        return "," + ",".join(cells[place] for place in order)

    file = written(tmp_path, '"Outages,', 'of the day"', "", *map(shuffled, (HEADER.lower(), MORNING, OTHER)))
    assert only(file).outages == only(written(tmp_path, HEADER, MORNING, OTHER)).outages


def test_a_file_without_dates_is_of_the_time_it_was_written_unless_told(tmp_path: Path) -> None:
    file = written(tmp_path, HEADER, MORNING)
    os.utime(file, (1_768_500_000, 1_768_500_000))
    assert only(file).at == datetime.fromtimestamp(1_768_500_000, UTC)
    assert next(read(file, at=at("2026-01-15T09:00"))).at == at("2026-01-15T09:00")
    assert only(file).date is None


@pytest.mark.parametrize("name", ["report-20260115.csv", "2026-01-15.csv", "outages 20260115 (1).csv"])
def test_a_file_is_of_the_date_in_its_name(name: str, tmp_path: Path) -> None:
    file = written(tmp_path, HEADER, MORNING).rename(tmp_path / name)
    assert (only(file).date, only(file).at) == (date(2026, 1, 15), at("2026-01-15T08:00"))
    [told] = read(file, at=at("2026-02-01T00:00"))
    assert (told.date, told.at) == (None, at("2026-02-01T00:00"))


def test_a_number_that_is_no_date_does_not_date_a_file(tmp_path: Path) -> None:
    for name in ("report-20261315.csv", "report-120260115.csv"):
        assert only(written(tmp_path, HEADER, MORNING).rename(tmp_path / name)).date is None


def test_a_file_with_dates_is_a_snapshot_a_date(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        f"TRADE DATE,{HEADER}",
        *dated("2026-01-15", MORNING, OTHER, EVENING),
        *dated("2026-01-17", OTHER),
    )
    first, second = read(file)
    assert (first.date, first.at, list(first.outages)) == (
        date(2026, 1, 15),
        at("2026-01-15T08:00"),
        ["15120034", "15120035"],
    )
    assert (second.date, list(second.outages)) == (date(2026, 1, 17), ["15120035"])


def test_a_snapshot_comes_before_the_rest_of_the_file_is_read(tmp_path: Path) -> None:
    file = written(
        tmp_path, f"TRADE DATE,{HEADER}", *dated("2026-01-15", MORNING), *dated("2026-01-16", OTHER)
    )
    with file.open("ab") as more:
        more.write(b'2026-01-16,"never closed\n\n')
    feed = read(file)
    assert next(feed).date == date(2026, 1, 15)
    with pytest.raises(InvalidFeedError):
        next(feed)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (OTHER.replace("2026-01-15 08:00", "yesterday"), "CURTAILMENT START DATE TIME"),
        (OTHER.replace("2026-01-15 08:00", ""), "CURTAILMENT START DATE TIME"),
        (OTHER.replace("2026-01-15 09:00", "2026-01-14 09:00"), "CURTAILMENT END DATE TIME"),
        (OTHER.replace("2026-01-15 09:00", "9999-12-31 23:59"), "CURTAILMENT END DATE TIME"),
        (OTHER.replace(",7.5,", ",nan,"), "CURTAILMENT MW"),
        (OTHER.replace(",7.5,", ",-7.5,"), "CURTAILMENT MW"),
        (OTHER.replace(",7.5,", ",,"), "CURTAILMENT MW"),
        (OTHER.replace(",20,", ",2O,"), "RESOURCE PMAX MW"),
        (OTHER.replace(",20,0", ",20"), "NET QUALIFYING CAPACITY MW"),
        (OTHER.replace("7.5", "1,234.5"), ""),
        (OTHER.replace("MESA,", ","), "RESOURCE NAME"),
        (OTHER.replace("MESA,", "ME\x00SA,"), "RESOURCE NAME"),
        (OTHER.replace("MESA_7_SOLAR1", "M" * 65), "RESOURCE ID"),
        (OTHER.replace("UNIT_TESTING", ""), "NATURE OF WORK"),
        (OTHER.replace("15120035", ""), "OUTAGE MRID"),
        (OTHER.replace("15120035", "15 120035"), "OUTAGE MRID"),
    ],
)
def test_a_malformed_row_is_reported_with_its_place_and_the_others_go_on(
    row: str, column: str, tmp_path: Path
) -> None:
    snapshot = only(written(tmp_path, HEADER, MORNING, row, EVENING))
    [problem] = snapshot.problems
    assert (problem.file, problem.line, problem.column) == ("feed.csv", 3, column)
    assert str(problem).startswith(f"feed.csv, line 3, {column or 'row'}: ")
    assert len(snapshot.outages["15120034"].curtailments) == 2
    assert len(snapshot.outages) == 1


def test_a_byte_that_is_not_utf_8_spoils_its_row_only(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_bytes(text(HEADER, MORNING, OTHER).replace(b"MESA,", b"M\xc9SA,"))
    snapshot = only(file)
    assert [(problem.line, problem.column) for problem in snapshot.problems] == [(3, "RESOURCE NAME")]
    assert list(snapshot.outages) == ["15120034"]


def test_rows_of_one_outage_on_two_resources_are_malformed(tmp_path: Path) -> None:
    snapshot = only(written(tmp_path, HEADER, MORNING, EVENING.replace("SUNRIV_2", "SUNRIV_3"), OTHER))
    assert [(problem.line, problem.column) for problem in snapshot.problems] == [(3, "RESOURCE ID")]
    assert list(snapshot.outages) == ["15120035"]


@dataclass
class Doubt:
    """A later snapshot of MORNING, EVENING, OTHER and GONE, and the outages that it must leave alone."""

    rows: Sequence[str]
    unread: set[str]
    ended: set[str] = field(default_factory=set)


GONE = OTHER.replace("15120035", "15120036").replace("MESA_7_SOLAR1", "MESA_8_SOLAR1")


@pytest.mark.parametrize(
    "doubt",
    [
        Doubt([MORNING, EVENING, OTHER], set(), {"15120036"}),
        Doubt([MORNING, EVENING.replace("40", "x"), OTHER], {"15120034"}, {"15120036"}),
        Doubt([OTHER, MORNING.replace("15120034", "")], {"15120034"}, {"15120036"}),
        Doubt([MORNING, OTHER, EVENING.replace("15120034", "")], {"15120034"}, {"15120036"}),
        Doubt(
            [OTHER, MORNING.replace("15120034", "").replace("SUNRIV_2_UNIT 1", "")], {"15120034", "15120036"}
        ),
        Doubt(
            [MORNING.replace("34,", "37,"), EVENING.replace("15120034", ""), OTHER],
            {"15120034", "15120037"},
            {"15120036"},
        ),
        Doubt([MORNING, EVENING, OTHER, "", ",,,,,,,,,", ",Figures are preliminary"], set(), {"15120036"}),
    ],
)
def test_an_outage_that_a_malformed_row_may_belong_to_stays_as_it_was(doubt: Doubt, tmp_path: Path) -> None:
    before = only(written(tmp_path, HEADER, MORNING, EVENING, OTHER, GONE)).outages
    later = only(written(tmp_path, HEADER, *doubt.rows))
    assert later.unread(before) == doubt.unread
    changes = differences(before, later.outages, at=at("2027-01-01T00:00"), unread=later.unread(before))
    assert {change.mrid for change in changes} == doubt.ended


def test_a_row_with_a_malformed_date_is_in_doubt_on_either_side(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        f"TRADE DATE,{HEADER}",
        *dated("2026-01-15", OTHER),
        *dated("2026-01-1b", MORNING),
        *dated("2026-01-16", OTHER),
        *dated("2026-01-17", OTHER),
    )
    problem = RowProblem(
        "feed.csv", 3, "TRADE DATE", "'2026-01-1b' is no date", "15120034", "SUNRIV_2_UNIT 1"
    )
    assert [snapshot.problems for snapshot in read(file)] == [(problem,), (problem,), ()]


def refusal(file: Path) -> str:
    with pytest.raises(InvalidFeedError) as refused:
        list(read(file))
    assert refused.value.field == file.name
    return refused.value.reason


def test_an_empty_snapshot_is_refused_unless_told(tmp_path: Path) -> None:
    file = written(tmp_path, HEADER)
    assert "empty" in refusal(file)
    [snapshot] = read(file, allow_empty=True, at=at("2026-01-15T08:00"))
    assert snapshot == Snapshot(at("2026-01-15T08:00"), None, {}, ())


@pytest.mark.parametrize("allow_empty", [True, False])
def test_a_snapshot_of_which_no_row_can_be_read_is_refused(allow_empty: bool, tmp_path: Path) -> None:
    file = written(tmp_path, f"TRADE DATE,{HEADER}", f"2026-01-15,{MORNING}", f"2026-01-16,{OTHER},,x")
    feed = read(file, allow_empty=allow_empty)
    assert next(feed).date == date(2026, 1, 15)
    with pytest.raises(InvalidFeedError, match="2026-01-16"):
        next(feed)


def test_a_file_of_which_no_date_can_be_read_is_refused(tmp_path: Path) -> None:
    assert "TRADE DATE" in refusal(written(tmp_path, f"TRADE DATE,{HEADER}", f"tomorrow,{MORNING}"))


def test_dates_out_of_order_are_refused_with_the_line(tmp_path: Path) -> None:
    rows = [*dated("2026-01-15", MORNING), *dated("2026-01-14", MORNING)]
    assert "line 3: 2026-01-14" in refusal(written(tmp_path, f"TRADE DATE,{HEADER}", *rows))


@pytest.mark.parametrize("missing", HEADER.split(","))
def test_a_missing_column_is_named(missing: str, tmp_path: Path) -> None:
    file = written(tmp_path, "A title", HEADER.replace(missing, "SOMETHING ELSE"), MORNING)
    assert refusal(file) == f"has no header row with the columns {missing}"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"PK\x03\x04 no table"])
def test_a_file_without_a_table_is_refused(content: bytes, tmp_path: Path) -> None:
    for name in ("feed.csv", "feed.xlsx", "feed.csv.gz"):
        file = tmp_path / name
        file.write_bytes(content)
        assert refusal(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("feed.csv", "feed.xlsx", "feed.csv.gz"):
        assert "No such file" in refusal(tmp_path / name)


def test_a_quote_that_is_never_closed_does_not_swallow_outages(tmp_path: Path) -> None:
    for rows in (
        [MORNING, OTHER.replace("MESA,", '"MESA,'), EVENING],
        [MORNING, 'x,"', EVENING, 'y"', OTHER],
    ):
        assert "line 3" in refusal(written(tmp_path, HEADER, *rows))


two_days = text(
    f"TRADE DATE,{HEADER}", *dated("2026-01-15", MORNING, OTHER), *dated("2026-01-16", MORNING, OTHER)
)


@pytest.mark.parametrize("kept", [len(two_days) - 1, len(two_days) - 10, len(two_days) - 70])
def test_a_csv_cut_within_a_line_gives_no_half_snapshot(kept: int, tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    file.write_bytes(two_days[:kept])
    feed = read(file)
    assert next(feed).date == date(2026, 1, 15)
    with pytest.raises(InvalidFeedError, match="truncated"):
        next(feed)


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_truncated_archive_gives_whole_snapshots_then_an_error(tmp_path: Path, data: st.DataObject) -> None:
    whole = tmp_path / "whole.csv"
    whole.write_bytes(two_days)
    packed = gzip.compress(two_days, mtime=0)
    file = tmp_path / "feed.csv.gz"
    file.write_bytes(packed[: data.draw(st.integers(0, len(packed) - 1))])
    found: list[Snapshot] = []
    with pytest.raises(InvalidFeedError):
        found.extend(read(file))
    assert found == list(read(whole))[: len(found)]
    assert len(found) < 2


# xlsx, as published


def workbook(file: Path, lines: Iterable[Sequence[object]], *, title_rows: int = 9) -> Path:
    """Write a workbook as the ISO publishes it: header in row 10, columns A, D and L blank."""
    book = Workbook()
    book.create_sheet("READ ME").append(["OUTAGE MRID", "is the number of an outage"])
    sheet = book.create_sheet("PREV_DAY_OUTAGES")
    for number in range(title_rows):
        sheet.append([None, "Curtailed and non-operational generators"] if number == 1 else [None])
    for cells in lines:
        first, second, *rest = cells
        sheet.append([None, first, second, None, *rest[:7], None, *rest[7:]])
    book.create_sheet("NOTES").append(["Figures are preliminary."])
    book.save(file)
    book.close()
    return file


def typed(line: str) -> list[object]:
    """The cells of a line as a workbook holds them."""
    mrid, *words, start, end, mw, pmax, nqc = line.split(",")
    times = [datetime.fromisoformat(start), datetime.fromisoformat(end)]
    return [float(mrid), *words, *times, float(mw), float(pmax), float(nqc)]


def test_the_published_workbook_says_the_same_as_the_csv(tmp_path: Path) -> None:
    file = workbook(tmp_path / "feed.xlsx", [HEADER.split(","), *map(typed, (MORNING, OTHER, EVENING))])
    snapshot = only(file)
    assert snapshot.problems == ()
    assert snapshot.outages == only(written(tmp_path, HEADER, MORNING, OTHER, EVENING)).outages


def test_a_workbook_of_another_program_is_read(tmp_path: Path) -> None:
    made = workbook(tmp_path / "made.xlsx", [HEADER.split(","), typed(MORNING), typed(OTHER)])
    file = tmp_path / "feed.xlsx"
    with ZipFile(made) as old, ZipFile(file, "w") as new:
        for name in old.namelist():
            part = re.sub(
                rb'<dimension ref="[^"]+"', b'<dimension ref="A1"', old.read(name)
            )  # the size is wrong
            part = re.sub(rb"<cellStyles.*</cellStyles>", b"", part)
            new.writestr(name, part.replace(b"<v>15120034</v>", b"<v>1.5120034E7</v>"))
    assert only(file).outages == only(made).outages


def test_a_malformed_row_of_a_workbook_is_reported_with_its_row(tmp_path: Path) -> None:
    bad = typed(OTHER)
    bad[7] = "#REF!"
    snapshot = only(workbook(tmp_path / "feed.xlsx", [HEADER.split(","), typed(MORNING), bad]))
    [problem] = snapshot.problems
    assert (problem.line, problem.column, problem.mrid) == (12, "CURTAILMENT MW", "15120035")


def test_a_truncated_workbook_is_refused(tmp_path: Path) -> None:
    file = workbook(tmp_path / "feed.xlsx", [HEADER.split(","), typed(MORNING)])
    content = file.read_bytes()
    for kept in (len(content) - 10, len(content) // 2, 100):
        file.write_bytes(content[:kept])
        assert "cannot be read" in refusal(file)


def test_a_workbook_without_rows_is_refused(tmp_path: Path) -> None:
    assert "empty" in refusal(workbook(tmp_path / "feed.xlsx", [HEADER.split(",")]))


# the two odd days a year


def curtailment(folder: Path, start: str, end: str) -> tuple[datetime, datetime]:
    row = OTHER.replace("2026-01-15 08:00", start).replace("2026-01-15 09:00", end)
    [read_back] = only(written(folder, HEADER, row)).outages["15120035"].curtailments
    return read_back.start, read_back.end


@pytest.mark.parametrize(("day", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2026-11-02", 24)])
def test_a_day_has_its_hours(day: str, hours: int, tmp_path: Path) -> None:
    next_day = date.fromisoformat(day) + timedelta(days=1)
    start, end = curtailment(tmp_path, f"{day} 00:00", f"{next_day} 00:00")
    assert end - start == timedelta(hours=hours)


def test_an_hour_that_the_clock_skips_counts_by_the_offset_before_it(tmp_path: Path) -> None:
    start, end = curtailment(tmp_path, "2026-03-08 02:00", "2026-03-08 02:30")
    assert (start, end) == (at("2026-03-08T10:00"), at("2026-03-08T10:30"))


def test_an_hour_that_the_clock_shows_twice_is_the_first(tmp_path: Path) -> None:
    start, end = curtailment(tmp_path, "2026-11-01 01:00", "2026-11-01 01:45")
    assert (start, end) == (at("2026-11-01T08:00"), at("2026-11-01T08:45"))


def test_an_end_in_that_hour_is_the_second_if_it_would_lie_before_the_start(tmp_path: Path) -> None:
    start, end = curtailment(tmp_path, "2026-11-01 01:45", "2026-11-01 01:15")
    assert (start, end) == (at("2026-11-01T08:45"), at("2026-11-01T09:15"))


def test_a_time_with_an_offset_needs_no_zone(tmp_path: Path) -> None:
    start, _ = curtailment(tmp_path, "2026-11-01 01:30-08:00", "2026-11-01 03:00")
    assert start == at("2026-11-01T09:30")


def test_the_zone_of_the_feed_can_be_another(tmp_path: Path) -> None:
    [snapshot] = read(written(tmp_path, HEADER, OTHER), timezone="UTC")
    assert snapshot.outages["15120035"].curtailments[0].start == at("2026-01-15T08:00")


# laws


def lines(snapshot: dict[str, Outage]) -> list[list[str]]:
    def local(moment: datetime) -> str:
        return moment.astimezone(PACIFIC).strftime("%Y-%m-%d %H:%M")

    return [
        [
            *(
                outage.mrid,
                outage.resource_name,
                outage.resource_id,
                outage.outage_type,
                outage.nature_of_work,
            ),
            *(local(row.start), local(row.end)),
            *map(str, (row.mw, outage.pmax_mw, outage.net_qualifying_capacity_mw, outage.status or "")),
        ]
        for outage in snapshot.values()
        for row in outage.curtailments
    ]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(snapshots.filter(bool), st.randoms())
def test_outages_come_back_from_a_file_whatever_the_order_of_its_rows(
    tmp_path: Path, outages: dict[str, Outage], random: Random
) -> None:
    rows = lines(outages)
    random.shuffle(rows)
    file = tmp_path / "feed.csv.gz"
    with gzip.open(file, "wt", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([[*HEADER.split(","), "OUTAGE STATUS"], *rows])
    assert only(file).outages == outages


# real months, where they are at hand


def month(file: Path) -> Path:
    """A month of our own making, in which outages come, change, go and return."""
    random = Random(17)
    with gzip.open(file, "wt", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["TRADE DATE", *HEADER.split(",")])
        for day in range(1, 32):
            for number in range(60):
                if random.random() < 0.7:
                    row = OTHER.replace("15120035", str(15120000 + number)).split(",")
                    row[7] = random.choice(["7.5", "8"])
                    writer.writerow([f"2026-01-{day:02}", *row])
    return file


REAL = sorted((Path(__file__).parents[3] / "shared" / "data").glob("caiso-curtailments-*.csv.gz"))
FIGURES = {"caiso-curtailments-2024-01.csv.gz": (38_972, 3_988, 4_363, 4_332, 3_090, 301)}
"""Rows, outages, new, gone, changed, and those that vanish and return: of the README beside the file."""


@pytest.mark.parametrize("file", [None, *REAL], ids=lambda file: file.name if file else "made")
def test_the_differences_of_a_month_are_those_counted_from_its_rows(
    file: Path | None, tmp_path: Path
) -> None:
    file = file or month(tmp_path / "month.csv.gz")
    counted = counted_from_rows(file)
    assert counted == FIGURES.get(file.name, counted)

    before: dict[str, Outage] = {}
    departed: set[str] = set()
    new = gone = changed = rows = 0
    returned: set[str] = set()
    seen: set[str] = set()
    for snapshot in read(file):
        assert snapshot.problems == ()
        changes = differences(before, snapshot.outages, at=snapshot.at, departed=departed)
        assert apply(before, changes) == snapshot.outages
        for change in changes:
            check(outage_event(change, sequence=1, source="/oms", audience=ALL, at=snapshot.at))
            if change.before is None:
                assert change.kind == ("changed" if change.mrid in departed else "created")
                new += bool(before)
                returned |= {change.mrid} & departed
            elif change.after is None:
                assert change.kind in ("ended", "cancelled")
                gone += 1
                departed.add(change.mrid)
            else:
                changed += 1
        rows += sum(len(outage.curtailments) for outage in snapshot.outages.values())
        before = snapshot.outages
        seen |= before.keys()
    assert (rows, len(seen), new, gone, changed, len(returned)) == counted


def counted_from_rows(file: Path) -> tuple[int, int, int, int, int, int]:
    """The same figures, from the rows as they stand and with nothing of the product."""
    days: dict[str, dict[str, set[tuple[str, ...]]]] = {}
    with gzip.open(file, "rt", encoding="utf-8", newline="") as opened:
        for day, mrid, *rest in csv.reader(opened):
            if day != "TRADE DATE":
                days.setdefault(day, {}).setdefault(mrid, set()).add(tuple(rest))
    new = gone = changed = 0
    departed: set[str] = set()
    returned: set[str] = set()
    for before, after in pairwise(days.values()):
        new += len(after.keys() - before.keys())
        gone += len(before.keys() - after.keys())
        changed += sum(before[mrid] != after[mrid] for mrid in before.keys() & after.keys())
        returned |= after.keys() & departed
        departed |= before.keys() - after.keys()
    rows = sum(len(found) for outages in days.values() for found in outages.values())
    return (
        rows,
        len({mrid for outages in days.values() for mrid in outages}),
        new,
        gone,
        changed,
        len(returned),
    )
