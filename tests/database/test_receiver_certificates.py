"""What is kept of the certificates that receivers show."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, func, select

from claimbus.database import Database, endpoints, participants, receiver_certificates
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.receiver_certificates import Certificate, due, find, note
from claimbus.database.schema import receiver_certificates as table

ACT = Act("tests")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with Database.open(database_url) as database, database.transaction() as connection:
        for name in ("PGAE", "SCE1"):
            participants.add(connection, name, f"{name} Inc", ACT)
        yield connection


def webhook(
    connection: Connection, name: str, participant: str = "PGAE", *, verified: bool = True
) -> Endpoint:
    url = f"HTTPS://{name}.example/"
    return endpoints.add(connection, participant, ACT, name=name, url=url, verified=verified)


def ending(days: float, fingerprint: str = "a") -> Certificate:
    return Certificate(fingerprint * 64, "CN=one", "CN=an authority", NOW - DAY, NOW + days * DAY)


def seen(connection: Connection, one: Endpoint, days: float, *, at: datetime = NOW) -> None:
    note(connection, one.id, one.url or "", ending(days), at)


def test_what_was_seen_last_counts_and_a_look_that_finds_nothing_takes_nothing_away(
    connection: Connection,
) -> None:
    one = webhook(connection, "one")
    seen(connection, one, 9)
    note(connection, one.id, one.url or "", ending(99, "b"), NOW + DAY)
    note(connection, one.id, one.url or "", None, NOW + 2 * DAY)
    (found,) = find(connection)
    assert (found.endpoint_id, found.endpoint_name, found.participant_id) == (one.id, "one", "PGAE")
    assert (found.fingerprint, found.seen_at) == ("b" * 64, NOW + DAY)
    assert (found.begins_at, found.ends_at) == (NOW - DAY, NOW + 99 * DAY)
    assert due(connection, NOW + 2 * DAY, 9) == ()
    assert due(connection, NOW + 3 * DAY, 9) == (one,)


def test_where_nothing_was_ever_seen_there_is_nothing_to_show(connection: Connection) -> None:
    one = webhook(connection, "one")
    note(connection, one.id, one.url or "", None, NOW)
    assert find(connection) == ()
    assert due(connection, NOW, 9) == ()


def test_what_ends_first_comes_first_and_every_filter_counts(connection: Connection) -> None:
    late, soon, other = (
        webhook(connection, "late"),
        webhook(connection, "soon"),
        webhook(connection, "other", "SCE1"),
    )
    for one, days, at in ((late, 90, NOW), (soon, 3, NOW), (other, 30, NOW - 5 * DAY)):
        seen(connection, one, days, at=at)
    assert [one.endpoint_name for one in find(connection)] == ["soon", "other", "late"]
    assert [one.endpoint_name for one in find(connection, participant_ids=["PGAE"])] == ["soon", "late"]
    assert [one.endpoint_name for one in find(connection, endpoint_ids=[late.id, other.id])] == [
        "other",
        "late",
    ]
    assert [one.endpoint_name for one in find(connection, ends_by=NOW + 30 * DAY)] == ["soon", "other"]
    assert [one.endpoint_name for one in find(connection, seen_since=NOW)] == ["soon", "late"]
    assert find(connection, endpoint_ids=[]) == find(connection, participant_ids=[]) == ()


def test_what_was_seen_at_another_url_counts_no_more_whoever_comes_last(connection: Connection) -> None:
    one = webhook(connection, "one")
    seen(connection, one, 9)
    changed = endpoints.change(connection, one.id, ACT, url="https://new.example/")
    assert find(connection) == ()
    note(connection, one.id, changed.url or "", None, NOW)
    assert find(connection) == ()
    seen(connection, changed, 90)
    seen(connection, one, 9)  # a look at the old one that took its time
    assert find(connection) == ()
    endpoints.mark_verified(connection, one.id, ACT, url=changed.url)
    assert [found.id for found in due(connection, NOW - DAY, 9)] == [one.id]
    assert connection.execute(select(func.count()).select_from(table)).scalar() == 1


def test_only_verified_webhooks_that_may_receive_are_due(connection: Connection) -> None:
    there = {name: webhook(connection, name) for name in ("active", "paused", "disabled", "removed")}
    webhook(connection, "pending", verified=False)
    endpoints.add(connection, "PGAE", ACT, kind="stream", name="stream")
    endpoints.add(
        connection, "PGAE", ACT, name="http", url="http://a.example/", allow_http=True, verified=True
    )
    endpoints.pause(connection, there["paused"].id, ACT)
    endpoints.disable(connection, there["disabled"].id, Act("tests", "why"))
    endpoints.remove(connection, there["removed"].id, ACT)
    assert {one.name for one in due(connection, NOW, 9)} == {"active", "paused"}


def test_those_never_looked_at_are_due_first_and_then_those_that_waited_longest(
    connection: Connection,
) -> None:
    first, second, never = (webhook(connection, name) for name in ("first", "second", "never"))
    seen(connection, second, 9, at=NOW - DAY)
    seen(connection, first, 9, at=NOW - 2 * DAY)
    assert [one.id for one in due(connection, NOW, 1)] == [never.id]
    assert {one.id for one in due(connection, NOW, 2)} == {never.id, first.id}
    assert {one.id for one in due(connection, NOW, 9)} == {never.id, first.id, second.id}


def test_names_of_any_length_and_script_can_be_kept(connection: Connection) -> None:
    one = webhook(connection, "one")
    odd = ending(9)._replace(subject="CN=ä€😀" + "x" * 300, issuer="")
    note(connection, one.id, one.url or "", odd, NOW)
    assert find(connection)[0].subject == odd.subject
    assert receiver_certificates.find(connection)[0].issuer == ""
