"""The demo's plan."""

import json
from collections import Counter
from datetime import date, timedelta

import pytest

from claimbus.cli.demo.plan import FEWEST, made_up_participants, make_plan
from claimbus.events import catalogue, markets, routing
from claimbus.events.event import is_participant_id

DAYS = [date(2026, 3, 5) + timedelta(days=number) for number in range(6)]


@pytest.mark.parametrize("days", [DAYS, DAYS[:1], DAYS[:2]])
@pytest.mark.parametrize("participants", [FEWEST, 20, 300])
def test_every_plan_has_each_fault_and_each_kind_of_endpoint(participants: int, days: list[date]) -> None:
    plan = make_plan(made_up_participants(participants), days)
    assert len(plan.participants) == participants
    assert Counter(fault.kind for fault in plan.faults.values()) == {
        "down": 1,
        "slow": 1,
        "failing": 1,
        "refusing": 1,
    }
    assert any(participant.ordered for participant in plan.participants)
    assert any(participant.latest_only for participant in plan.participants)
    (down,) = (fault for fault in plan.faults.values() if fault.kind == "down")
    assert 0 <= down.from_day <= down.until_day < len(days)


def test_it_is_plain_data() -> None:
    plan = make_plan(made_up_participants(20), DAYS)
    assert json.loads(json.dumps(plan.as_json())) == json.loads(json.dumps(plan.as_json()))
    assert (
        json.dumps(plan.as_json()["calendar"][0])
        == '{"type": "market.dam.opened", "trade_date": "2026-03-05", "hour": null}'
    )


def test_too_few_participants_or_days_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 5 participants"):
        make_plan(made_up_participants(FEWEST - 1), DAYS)
    with pytest.raises(ValueError, match="no trade date"):
        make_plan(made_up_participants(FEWEST), [])


def test_the_catalogue_has_every_event_of_the_calendar() -> None:
    plan = make_plan(made_up_participants(20), DAYS)
    for type_, trade_date, hour in plan.calendar:
        _, market, event = type_.split(".")
        made = markets.market_event(
            market,
            event,
            trade_date=trade_date,
            hour=hour,
            source="/demo",
            at=markets.hour_of(trade_date, 1)[0],
        )
        catalogue.check(made)
    assert len(set(plan.calendar)) == len(plan.calendar)


def test_one_day_the_day_ahead_market_reopens_and_closes_again() -> None:
    calendar = make_plan(made_up_participants(20), DAYS).calendar
    story = [
        event.type
        for event in calendar
        if event.trade_date == DAYS[1] and event.type.startswith("market.dam.")
    ]
    closed = story.index("market.dam.closed")
    assert story[closed : closed + 3] == ["market.dam.closed", "market.dam.reopened", "market.dam.reclosed"]
    kinds = {event.type.rpartition(".")[2] for event in calendar}
    assert {"opened", "closing-soon", "results-published", "publication-delayed", "price-corrected"} <= kinds


def test_subscriptions_vary_and_are_all_allowed() -> None:
    plan = make_plan(made_up_participants(20), DAYS)
    for patterns in plan.subscriptions.values():
        for pattern in patterns:
            routing.check_pattern(pattern)
    assert len(set(plan.subscriptions.values())) >= 8


def test_made_up_participants_are_well_formed_and_never_part_of_one_another() -> None:
    ids = list(made_up_participants(1000))
    assert all(map(is_participant_id, ids))
    assert len({len(id_) for id_ in ids}) == 1
    assert len(set(made_up_participants(20).values())) == 15
