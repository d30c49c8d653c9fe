"""Sessions of the web pages."""

from datetime import UTC, datetime, timedelta

from claimbus.database import sessions
from claimbus.database.engine import Database

NOW = datetime(2026, 1, 15, 18, tzinfo=UTC)


def test_a_session_is_found_by_its_cookie_alone(database: Database) -> None:
    with database.transaction() as sql:
        begun, cookie = sessions.begin(sql, "token", "00ff", NOW)
        _, other = sessions.begin(sql, "certificate", "CN=PGAE", NOW)
    assert len({cookie, other, begun.csrf}) == 3
    with database.snapshot() as sql:
        assert sessions.get(sql, cookie, NOW) == begun
        assert sessions.get(sql, cookie[:-1], NOW) is None
        assert sessions.get(sql, begun.csrf, NOW) is None


def test_the_cookie_is_not_in_the_database(database: Database) -> None:
    with database.transaction() as sql:
        _, cookie = sessions.begin(sql, "token", "00ff", NOW)
        rows = sql.exec_driver_sql("SELECT * FROM sessions").all()
    assert cookie not in str(rows)
    assert "csrf" not in repr(_)


def test_a_session_ends_when_it_is_idle_and_lives_on_when_it_is_used(database: Database) -> None:
    with database.transaction() as sql:
        _, cookie = sessions.begin(sql, "token", "00ff", NOW)
        used = NOW + sessions.IDLE - timedelta(seconds=1)
        sessions.note_use(sql, cookie, used)
        assert sessions.get(sql, cookie, used + sessions.IDLE - timedelta(seconds=1)) is not None
        assert sessions.get(sql, cookie, used + sessions.IDLE) is None


def test_a_session_ends_after_its_time_however_it_is_used(database: Database) -> None:
    with database.transaction() as sql:
        _, cookie = sessions.begin(sql, "token", "00ff", NOW)
        for minutes in range(0, 12 * 60, 10):
            sessions.note_use(sql, cookie, NOW + timedelta(minutes=minutes))
        assert sessions.get(sql, cookie, NOW + sessions.LONGEST - timedelta(minutes=1)) is not None
        assert sessions.get(sql, cookie, NOW + sessions.LONGEST) is None


def test_a_session_that_was_ended_opens_nothing(database: Database) -> None:
    with database.transaction() as sql:
        _, cookie = sessions.begin(sql, "token", "00ff", NOW)
        _, other = sessions.begin(sql, "token", "00ff", NOW)
        sessions.end(sql, cookie)
        assert sessions.get(sql, cookie, NOW) is None
        assert sessions.get(sql, other, NOW) is not None


def test_sessions_that_ended_are_forgotten(database: Database) -> None:
    with database.transaction() as sql:
        sessions.begin(sql, "token", "00ff", NOW)
        _, live = sessions.begin(sql, "token", "00ff", NOW + timedelta(minutes=20))
        assert sessions.forget(sql, NOW + sessions.IDLE) == 1
        assert sessions.get(sql, live, NOW + sessions.IDLE) is not None


def test_a_form_of_another_session_is_not_allowed(database: Database) -> None:
    with database.transaction() as sql:
        one, _ = sessions.begin(sql, "token", "00ff", NOW)
        other, _ = sessions.begin(sql, "token", "00ff", NOW)
    assert one.allows(one.csrf)
    assert not one.allows(other.csrf)
    assert not one.allows("")
    assert not one.allows("é")
