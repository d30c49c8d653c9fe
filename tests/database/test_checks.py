"""What the doctor says of a database."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from claimbus.database import Database
from claimbus.database.checks import Finding, check


def told(findings: list[Finding], severity: str) -> str:
    return "; ".join(f"{one.subject}: {one.message}" for one in findings if one.severity == severity)


def test_a_healthy_database_has_nothing_wrong(database_url: str) -> None:
    Database.open(database_url).close()
    findings = check(database_url)
    assert not told(findings, "error")
    assert "is at revision" in told(findings, "ok")


def test_a_file_that_is_not_there_is_not_made(sqlite_url: str) -> None:
    assert "the first start makes it" in told(check(sqlite_url), "warning")
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


def test_a_database_before_its_first_start_is_left_as_it_is(database_url: str) -> None:
    path = Path(database_url.removeprefix("sqlite:///"))
    if database_url.startswith("sqlite"):
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE notes (line TEXT)")
        connection.close()
    findings = check(database_url)
    assert "the next start migrates" in told(findings, "warning")
    assert check(database_url) == findings
    if database_url.startswith("sqlite"):
        assert "delete mode" in told(findings, "warning")


def test_a_newer_schema_is_an_error(database_url: str) -> None:
    with Database.open(database_url) as database, database.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert "newer claimbus" in told(check(database_url), "error")


@pytest.mark.parametrize(
    "url", ["mysql://a:hunter2@b/c", "postgresql://a:hunter2@127.0.0.1:1/c", "sqlite:////nowhere/at/all.db"]
)
def test_what_cannot_be_reached_is_an_error_without_its_password(url: str) -> None:
    errors = told(check(url), "error")
    assert errors
    assert "hunter2" not in errors
