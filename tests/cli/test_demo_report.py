"""The demo's own reading of a curtailment report."""

import gzip
import os
from datetime import UTC, date, datetime, time
from pathlib import Path

import openpyxl
import pytest

from claimbus.cli.demo.report import read_report

HEADER = (
    "TRADE DATE,OUTAGE MRID,RESOURCE NAME,RESOURCE ID,OUTAGE TYPE,NATURE OF WORK,OUTAGE STATUS,"
    "CURTAILMENT START DATE TIME,CURTAILMENT END DATE TIME,CURTAILMENT MW,RESOURCE PMAX MW,"
    "NET QUALIFYING CAPACITY MW"
)


def row(
    day: str = "2026-03-08",
    mrid: str = "1",
    *,
    resource: str = "HILL_1_UNIT 1",
    status: str = "OUT",
    start: str = "2026-03-08 00:00",
    end: str = "2026-03-08 23:59",
    mw: str = "10.0",
) -> str:
    return f"{day},{mrid},HILL UNIT 1,{resource},FORCED,PLANT_TROUBLE,{status},{start},{end},{mw},50.0,40.0"


def written(path: Path, *rows: str) -> Path:
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_csv_gzip_and_workbook_read_alike(tmp_path: Path) -> None:
    lines = [row(), row(mrid="2", mw="7"), row("2026-03-09", mw="10")]
    plain = written(tmp_path / "a.csv", *lines)
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for line in [HEADER, *lines]:
        sheet.append(line.split(","))
    book.save(tmp_path / "a.xlsx")
    book.close()

    expected = read_report([plain])
    assert [snapshot.trade_date for snapshot in expected] == [date(2026, 3, 8), date(2026, 3, 9)]
    assert read_report([packed]) == expected
    assert read_report([tmp_path / "a.xlsx"]) == expected


def test_the_published_workbook_has_its_header_in_row_ten_and_blank_columns(tmp_path: Path) -> None:
    _, *names = [name for name in HEADER.split(",") if name != "OUTAGE STATUS"]
    start, end = datetime(2024, 1, 1, 8, 30), datetime(2024, 1, 1, 23, 59)  # noqa: DTZ001 local, as in workbooks
    cells = [14694854, "HILL UNIT 1", "HILL_1_UNIT 1", "FORCED", "PLANT_TROUBLE", start, end, 10, 22.0, 22]
    book = openpyxl.Workbook()
    book.create_sheet("NOTES")
    sheet = book.create_sheet("PREV_DAY_OUTAGES")
    sheet["B2"] = "Curtailed and Non-Operational Generators"
    places = "BCEFGHIJKM"
    for place, name, cell in zip(places, names, cells, strict=True):
        sheet[f"{place}10"] = name
        sheet[f"{place}11"] = cell
    sheet["B13"] = "a remark"
    path = tmp_path / "report-20240101.xlsx"
    book.save(path)
    book.close()

    (snapshot,) = read_report([path])
    assert snapshot.trade_date == date(2024, 1, 1)
    assert snapshot.malformed == []
    ((mrid, outage),) = snapshot.outages.items()
    assert (mrid, outage.resource_id, outage.status) == ("14694854", "HILL_1_UNIT 1", "")
    assert outage.end == datetime(2024, 1, 2, 7, 59, tzinfo=UTC)


def test_a_report_without_any_trade_date_has_the_date_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_text(HEADER.removeprefix("TRADE DATE,") + "\n" + row().partition(",")[2] + "\n")
    written_at = datetime(2026, 3, 9, 5, tzinfo=UTC)  # 22:00 of the day before, in Los Angeles
    os.utime(path, (written_at.timestamp(), written_at.timestamp()))
    (snapshot,) = read_report([path])
    assert (snapshot.trade_date, snapshot.at) == (date(2026, 3, 8), written_at)


def test_only_the_first_days_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", row("2026-03-08"), row("2026-03-09"), row("2026-03-10"))
    assert [s.trade_date.day for s in read_report([path], days=2)] == [8, 9]


@pytest.mark.parametrize(
    "spoiled",
    [
        row(mrid=""),
        row(resource=""),
        row(mw="n/a"),
        row(mw="-1"),
        row(mw="inf"),
        row(start="yesterday"),
        row(start="2026-03-09 00:00", end="2026-03-08 00:00"),
        row().rpartition(",")[0],
    ],
)
def test_a_malformed_row_is_counted_and_tells_nothing(tmp_path: Path, spoiled: str) -> None:
    (snapshot,) = read_report([written(tmp_path / "a.csv", spoiled, row(mrid="2"))])
    assert list(snapshot.outages) == ["2"]
    assert len(snapshot.malformed) == 1


def test_an_outage_of_two_resources_is_malformed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", row(), row(resource="VALE_1_UNIT 1"), row(mrid="2"))
    (snapshot,) = read_report([path])
    assert snapshot.doubts("1", "HILL_1_UNIT 1")
    assert not snapshot.doubts("2", "HILL_1_UNIT 1", vanished=True)


@pytest.mark.parametrize(
    ("day", "utc"), [("2026-03-08", 8), ("2026-03-09", 7), ("2026-11-01", 7), ("2026-11-02", 8)]
)
def test_a_snapshot_holds_when_its_day_begins(tmp_path: Path, day: str, utc: int) -> None:
    (snapshot,) = read_report([written(tmp_path / "a.csv", row(day))])
    assert snapshot.at == datetime.combine(date.fromisoformat(day), time(utc), UTC)


def test_hours_that_the_clock_shows_twice_or_never(tmp_path: Path) -> None:
    def times(start: str, end: str) -> list[str]:
        (snapshot,) = read_report([written(tmp_path / "a.csv", row(start=start, end=end))])
        ((began, ended, _),) = snapshot.outages["1"].curtailments
        return [began.strftime("%H:%M"), ended.strftime("%H:%M")]

    assert times("2026-03-08 01:59", "2026-03-08 03:00") == ["09:59", "10:00"]
    assert times("2026-03-08 02:30", "2026-03-08 03:30") == ["10:30", "10:30"]
    assert times("2026-11-01 01:10", "2026-11-01 01:40") == ["08:10", "08:40"]
    assert times("2026-11-01 01:10-08:00", "2026-11-01 01:40-08:00") == ["09:10", "09:40"]
    assert times("2026-11-01 01:40", "2026-11-01 01:10") == ["08:40", "09:10"]
