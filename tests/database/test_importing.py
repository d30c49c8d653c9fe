"""Taking over an export of the access-management system."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from claimbus.database import Act, Database, audit, entitlements, importing, participants
from claimbus.database.importing import Imported
from claimbus.events.errors import InvalidFeedError

LOCAL = ZoneInfo("America/Los_Angeles")
HEADER = "organisation,participant,resource_id,valid_from,valid_to,contact\n"
PGAE = "Pacific Gas,PGAE,GEYSER_1,2026-01-01,,ops@pacific.example\n"
PGSB = "Pacific Gas,PGSB,GEYSER_2,2026-01-01,2026-07-01,\n"
SCE1 = "Edison,SCE1,ALAMIT_7,2026-01-01 06:30,,\n"
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def written(folder: Path, text: str) -> importing.Export:
    path = folder / "owners.csv"
    path.write_text(text, encoding="utf-8")
    return importing.read(path, LOCAL)


def imported(database: Database, export: importing.Export, at: datetime = MARCH, **how: bool) -> Imported:
    with database.transaction() as connection:
        return importing.take_over(connection, export, Act("importer", at=at), **how)


def counts(result: Imported) -> tuple[int, int, int, int]:
    return (result.added, result.changed, result.closed, result.unchanged)


def owners(database: Database, at: datetime = MARCH) -> entitlements.Owners:
    with database.snapshot() as connection:
        return entitlements.all_owners(connection, at)


def test_an_export_brings_organisations_participants_contacts_and_entitlements(
    database: Database, tmp_path: Path
) -> None:
    result = imported(database, written(tmp_path, HEADER + PGAE + PGSB + SCE1))
    assert counts(result) == (3, 0, 0, 0)
    assert owners(database) == {
        "GEYSER_1": frozenset({"PGAE"}),
        "GEYSER_2": frozenset({"PGSB"}),
        "ALAMIT_7": frozenset({"SCE1"}),
    }
    with database.snapshot() as connection:
        assert participants.get(connection, "PGSB").organisation_id == "Pacific Gas"
        assert participants.contacts_of(connection, "Pacific Gas") == ("ops@pacific.example",)


def test_the_same_export_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    export = written(tmp_path, HEADER + PGAE + PGSB)
    imported(database, export)
    with database.snapshot() as connection:
        before = len(audit.find(connection).rows)
    assert counts(imported(database, export)) == (0, 0, 0, 2)
    with database.snapshot() as connection:
        latest, *others = audit.find(connection).rows
    assert len(others) == before
    assert (latest.action, latest.object_id) == ("imported", "owners.csv")


def test_what_is_no_longer_in_the_export_is_closed_not_deleted(database: Database, tmp_path: Path) -> None:
    imported(database, written(tmp_path, HEADER + PGAE + PGSB + SCE1))
    april = MARCH + timedelta(days=31)
    result = imported(database, written(tmp_path, HEADER + PGAE + PGSB), at=april)
    assert counts(result) == (0, 0, 1, 2)
    assert "ALAMIT_7" in owners(database, MARCH)
    assert "ALAMIT_7" not in owners(database, april)
    with database.snapshot() as connection:
        closed, *_ = audit.find(connection, kind="entitlement").rows
    assert (closed.object_id, closed.after) == (
        "ALAMIT_7/SCE1",
        {"valid_from": "2026-01-01T14:30:00Z", "valid_to": "2026-04-01T00:00:00Z"},
    )


def test_dates_are_midnights_where_the_iso_is(database: Database, tmp_path: Path) -> None:
    imported(database, written(tmp_path, HEADER + PGAE + PGSB))
    begin, end = datetime(2026, 1, 1, tzinfo=LOCAL), datetime(2026, 7, 1, tzinfo=LOCAL)  # 8 h, then 7 h
    held = [
        "GEYSER_2" in owners(database, at)
        for at in (begin - timedelta(seconds=1), begin, end - timedelta(seconds=1), end)
    ]
    assert held == [False, True, True, False]


def test_the_year_9999_is_no_end(database: Database, tmp_path: Path) -> None:
    imported(database, written(tmp_path, HEADER + PGAE.replace(",,", ",9999-12-31 23:59:59,")))
    with database.snapshot() as connection:
        assert [one.valid_to for one in entitlements.find(connection)] == [None]


def test_a_participant_moves_with_its_organisation(database: Database, tmp_path: Path) -> None:
    imported(database, written(tmp_path, HEADER + PGAE))
    imported(database, written(tmp_path, HEADER + PGAE.replace("Pacific Gas", "Edison")))
    with database.snapshot() as connection:
        assert participants.get(connection, "PGAE").organisation_id == "Edison"


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (",PGAE,GEYSER_1,2026-01-01,,", "organisation"),
        ("Pacific Gas,pgae,GEYSER_1,2026-01-01,,", "participant"),
        ("Pacific Gas,PGAE,,2026-01-01,,", "resource_id"),
        ("Pacific Gas,PGAE,GEYSER_1,,,", "valid_from"),
        ("Pacific Gas,PGAE,GEYSER_1,01/31/2026,,", "valid_from"),
        ("Pacific Gas,PGAE,GEYSER_1,2026-02-30,,", "valid_from"),
        ("Pacific Gas,PGAE,GEYSER_1,2026-01-01,2025-01-01,", "valid_to"),
        ("Pacific Gas,PGAE,GEYSER_1,2026-01-01,soon,", "valid_to"),
        ("Pacific Gas,PGAE,GEYSER_1,2026-01-01,,nobody", "contact"),
        ("Pacific Gas,PGAE,GEYSER_1", "valid_from"),
        ("Edison,PGSB,GEYSER_3,2026-01-01,,", "organisation"),
        ("Pacific Gas,PGSB,GEYSER_2,2026-01-01,2026-08-01,", "valid_to"),
    ],
)
def test_a_malformed_row_is_reported_and_the_others_go_on(
    database: Database, tmp_path: Path, row: str, column: str
) -> None:
    export = written(tmp_path, HEADER + PGSB + row + "\n" + SCE1)
    assert [problem[:3] for problem in export.problems] == [("owners.csv", 3, column)]
    assert str(export.problems[0]).startswith(f"owners.csv:3: {column}: ")
    result = imported(database, export)
    assert (result.added, result.problems) == (2, export.problems)
    assert owners(database).keys() == {"GEYSER_2", "ALAMIT_7"}


def test_a_malformed_row_closes_nothing_of_its_resource(database: Database, tmp_path: Path) -> None:
    imported(database, written(tmp_path, HEADER + PGAE + PGSB + SCE1))
    spoiled = written(tmp_path, HEADER + PGAE.replace("2026-01-01", "yesterday") + PGSB)
    assert imported(database, spoiled).closed == 1
    assert owners(database).keys() == {"GEYSER_1", "GEYSER_2"}


@pytest.mark.parametrize("text", [HEADER, HEADER + PGAE])
def test_an_empty_or_truncated_export_is_refused_unless_forced(
    database: Database, tmp_path: Path, text: str
) -> None:
    imported(database, written(tmp_path, HEADER + PGAE + PGSB + SCE1))
    truncated = written(tmp_path, text)
    with pytest.raises(InvalidFeedError, match=r"would close \d of 3"):
        imported(database, truncated)
    assert len(owners(database)) == 3
    imported(database, truncated, force=True)
    assert len(owners(database)) == len(truncated.rows)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no column organisation"),
        ("organisation,participant,resource_id,valid_from\n", "no column valid_to"),
        (HEADER + PGAE + 'Pacific Gas,PGAE,"GEYS', "line 3"),
    ],
)
def test_a_file_that_is_no_whole_export_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InvalidFeedError, match=reason) as caught:
        written(tmp_path, text)
    assert caught.value.field == "owners.csv"


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFeedError, match="cannot be read"):
        importing.read(tmp_path / "missing.csv", LOCAL)
    (tmp_path / "book.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(InvalidFeedError, match="cannot be read"):
        importing.read(tmp_path / "book.xlsx", LOCAL)


def test_excel_s_byte_order_mark_order_of_columns_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    text = "\ufeffResource_ID , valid_to,valid_from,Organisation,PARTICIPANT\n\n"
    (row,) = written(tmp_path, text + '"GEYSER, 1",,2026-01-01,Pacific Gas,PGAE\n').rows
    assert (row.organisation, row.contact) == ("Pacific Gas", None)
    assert row.entitlement.resource_id == "GEYSER, 1"
