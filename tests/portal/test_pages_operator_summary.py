"""The overview in one sentence, and its lines."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.database.endpoint import Endpoint
from claimbus.portal.desk.figures import (
    Arrivals,
    Backlog,
    Cause,
    DatabaseState,
    Flow,
    Held,
    Overview,
    Part,
    RabbitMQ,
    Redis,
    Workers,
)
from claimbus.portal.pages.operator.history import BUCKET, HEIGHT, POINTS, WIDTH, History, line
from claimbus.portal.pages.operator.summary import summary
from claimstore.checks import Projection

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AWAY: Part[Any] = Part(None, "no answer")


def endpoint(number: int = 0) -> Endpoint:
    values: dict[str, Any] = dict.fromkeys(Endpoint.__slots__)
    return Endpoint(**values | {"id": f"ep_{number}", "name": "one", "participant_id": "PGAE"})


def held(count: int) -> Part[tuple[Held, ...]]:
    one = Held(endpoint=endpoint(), since=NOW, why="timeouts", failures=5, next_probe=None)
    return Part((one,) * count)


def unattended(count: int, active: int = 3) -> Part[Workers]:
    return Part(Workers(active, tuple(endpoint(number) for number in range(count))))


FINE = Overview(
    at=NOW,
    arrivals=Part(Arrivals(events_rate=2.0, seconds=60, p50_ms=20, p99_ms=90)),
    flow=Part(Flow(deliveries_rate=8.0, failures_rate=0.0, p50_ms=9, p99_ms=40)),
    backlog=Part(Backlog(0, ())),
    workers=unattended(0),
    held=held(0),
    dead=Part(()),
    rabbitmq=Part(RabbitMQ(version="4.0.5", blocked="", unrecorded=0)),
    redis=Part(Redis(used=1, limit=0, forecast=Projection(0, 0, 0))),
    database=Part(DatabaseState("SQLite", 0.3)),
)


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({}, "good", "Everything is reaching everybody."),
        ({"backlog": Part(Backlog(412, ()))}, "good", "Everything is reaching everybody."),
        ({"held": held(1)}, "warn", "1 endpoint is held."),
        (
            {"held": held(3), "backlog": Part(Backlog(1412, ()))},
            "warn",
            "3 endpoints are held; 1,412 deliveries wait.",
        ),
        ({"dead": Part((Cause("expired", 1, 0),))}, "warn", "1 dead letter waits for somebody."),
        ({"dead": Part((Cause("expired", 1, 1),))}, "bad", "1 new dead letter waits for somebody."),
        ({"dead": Part((Cause("expired", 2, 2),))}, "bad", "2 new dead letters wait for somebody."),
        (
            {"held": held(1), "dead": Part((Cause("expired", 1200, 0), Cause("rejected", 88, 2)))},
            "bad",
            "1,288 dead letters wait for somebody, 2 of them new; 1 endpoint is held.",
        ),
        (
            {"held": held(1), "dead": Part((Cause("expired", 2, 0), Cause("rejected", 3, 0)))},
            "warn",
            "1 endpoint is held; 5 dead letters wait for somebody.",
        ),
        (
            {"workers": unattended(1), "backlog": Part(Backlog(1, ()))},
            "warn",
            "No worker takes from 1 endpoint; 1 delivery waits.",
        ),
        (
            {"workers": unattended(3), "backlog": Part(Backlog(7, ()))},
            "bad",
            "No worker is running; 7 deliveries wait.",
        ),
        (
            {"rabbitmq": Part(RabbitMQ(version="", blocked="low on memory", unrecorded=0)), "held": held(1)},
            "bad",
            "RabbitMQ takes no messages: publishing waits.",
        ),
        ({"redis": AWAY, "held": AWAY}, "bad", "Redis is away."),
        ({"database": AWAY, "redis": AWAY}, "bad", "The database and Redis are away."),
        (
            {"database": AWAY, "rabbitmq": AWAY, "redis": AWAY},
            "bad",
            "The database, RabbitMQ and Redis are away.",
        ),
    ],
)
def test_the_worst_comes_first(changed: dict[str, Any], kind: str, words: str) -> None:
    assert summary(replace(FINE, **changed)) == (kind, words)


def test_what_is_not_known_is_never_called_fine() -> None:
    for name in ("held", "dead", "workers", "backlog"):
        changed: dict[str, Any] = {name: AWAY}
        assert summary(replace(FINE, **changed)).kind != "good", name


def test_the_history_forgets_what_is_older_than_its_charts() -> None:
    history = History()
    for number in range(3 * POINTS):
        history.add(replace(FINE, at=NOW + timedelta(seconds=BUCKET * number)))
    drawn = history.drawn(NOW + timedelta(seconds=BUCKET * (3 * POINTS - 1)))
    assert drawn.seconds == BUCKET * (POINTS - 1) == 600
    assert drawn.lines["deliveries"].path.count("L") == POINTS - 1
    assert history.drawn(NOW + timedelta(days=1)).lines["deliveries"].path == ""


@pytest.mark.parametrize(("known", "minutes"), [(1, 1), (7, 1), (25, 4), (200, 10)])
def test_a_chart_goes_back_no_further_than_something_is_known(known: int, minutes: int) -> None:
    history = History()
    for number in range(known):
        history.add(replace(FINE, at=NOW + timedelta(seconds=BUCKET * number)))
    drawn = history.drawn(NOW + timedelta(seconds=BUCKET * (known - 1)))
    assert drawn.seconds == minutes * 60
    assert drawn.minutes == pytest.approx([1 - ago / minutes for ago in range(1, minutes)])
    assert drawn.lines["deliveries"].path.count("L") == min(known, POINTS) - 1


def test_what_is_known_again_after_a_gap_does_not_hide_what_was_known_before() -> None:
    history = History()
    for ago in (500, 10, 0):
        history.add(replace(FINE, at=NOW - timedelta(seconds=ago)))
    assert history.drawn(NOW).seconds == 500


def test_what_was_not_known_is_a_gap() -> None:
    history = History()
    for number, flow in enumerate((FINE.flow, FINE.flow, AWAY, FINE.flow)):
        history.add(replace(FINE, at=NOW + timedelta(seconds=BUCKET * number), flow=flow))
    path = history.drawn(NOW + timedelta(seconds=BUCKET * 3)).lines["deliveries"].path
    assert (path.count("M"), path.count("L")) == (2, 1)


@given(st.lists(st.none() | st.floats(0, 1e12), min_size=2, max_size=POINTS))
def test_a_line_stays_in_its_chart(values: list[float | None]) -> None:
    most = max((value for value in values if value is not None), default=0)
    drawn = line(values, most).path
    places = drawn.replace("h.1", "").replace("M", " ").replace("L", " ").split()
    across, down = map(float, places[::2]), map(float, places[1::2])
    assert all(0 <= x <= WIDTH for x in across)
    assert all(0 <= y <= HEIGHT for y in down)
