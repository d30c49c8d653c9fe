"""The demo's verdict catches each way in which a run can fail."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.cli.demo.expectation import Expectation, Identity, MarketEvent
from claimbus.cli.demo.plan import Fault, Participant, Plan
from claimbus.cli.demo.receipt import Receipt, read_receipts, receipt_of
from claimbus.cli.demo.receivers import Received
from claimbus.cli.demo.verdict import Relief, Verdict, fault_seen, judge

EAST, WEST, NORTH = "EAST_POWER", "WEST_POWER", "NORTH_POWER"
ENDPOINTS = {"ep_east": EAST, "ep_west": WEST, "ep_north": NORTH}

CREATED = Identity("oms.resource-outage.created", "7001", 1)
CHANGED = Identity("oms.resource-outage.changed", "7001", 2)
SHARED = Identity("oms.resource-outage.created", "7002", 1)
CLOSED = Identity("market.dam.closed", "2026-03-08", None)
HOURLY = Identity("market.rtm.closed", "2026-03-08", 18)

PLAN = Plan(
    participants=(
        Participant(EAST, "East", ("#",), latest_only=True),
        Participant(WEST, "West", ("oms.#",)),
        Participant(NORTH, "North", ("#",), ordered=True),
    ),
    calendar=(
        MarketEvent("market.dam.closed", date(2026, 3, 8)),
        MarketEvent("market.rtm.closed", date(2026, 3, 8), 18),
    ),
)
EXPECTATION = Expectation(
    audience={
        CREATED: frozenset({EAST, NORTH}),
        CHANGED: frozenset({EAST, NORTH}),
        SHARED: frozenset({EAST, WEST}),
        CLOSED: None,
        HOURLY: None,
    },
    due={
        EAST: frozenset({CREATED, CHANGED, SHARED, CLOSED, HOURLY}),
        WEST: frozenset({SHARED}),
        NORTH: frozenset({CREATED, CHANGED, CLOSED, HOURLY}),
    },
    parked=frozenset({Identity("oms.resource-outage.created", "7009", 1)}),
    daily={date(2026, 3, 8): 5},
    malformed=0,
)


def line(participant: str, event: Identity, *, at: float = 0.0, **others: object) -> dict[str, Any]:
    """A request as a receiver writes it down; ``others`` override."""
    market = event.type.split(".")[1]
    key = (
        event.about
        if event.type.startswith("oms.")
        else f"{market}/{event.about}" + f"/{event.number or ''}".rstrip("/")
    )
    attributes = {"type": event.type, "partitionkey": key, "source": "/iso/demo", "id": str(event)}
    if event.type.startswith("oms."):
        attributes["sequence"] = str(event.number)
    written = {
        "receiver": participant,
        "target": f"/{participant}",
        "webhook_id": f"evt_{event.type}_{event.about}_{event.number}",
        "attempt": 1,
        "event": attributes,
        "verified": True,
        "answered": "204",
        "wall": at,
        "headers": [["host", "127.0.0.1"], *([f"ce-{name}", value] for name, value in attributes.items())],
        "body": json.dumps({"about": event.about}),
    }
    return written | others


def perfect() -> list[dict[str, Any]]:
    """A run in which all went well."""
    return [
        line(participant, event, at=number)
        for participant, events in EXPECTATION.due.items()
        for number, event in enumerate(sorted(events, key=lambda event: (event.about, event.number or 0)))
    ]


def without(participant: str, event: Identity, *instead: dict[str, Any]) -> list[dict[str, Any]]:
    """The perfect run less one delivery, and what came instead."""
    missing = line(participant, event)["event"]
    rest = [each for each in perfect() if (each["receiver"], each["event"]) != (participant, missing)]
    return [*rest, *instead]


def verdict(lines: list[dict[str, Any]], *, plan: Plan = PLAN, **others: object) -> Verdict:
    known: dict[str, Any] = {
        "published": 5,
        "endpoints": ENDPOINTS,
        "letters": [],
        "superseded": [],
        "held": [],
        "seconds": 12.34,
        **others,
    }
    return judge(plan, EXPECTATION, map(receipt_of, lines), **known)


def row(endpoint: str, event: Identity, **others: object) -> dict[str, Any]:
    attributes = line("", event)["event"]
    sequence = int(attributes["sequence"]) if "sequence" in attributes else None
    return {
        "endpoint": endpoint,
        "type": event.type,
        "partitionkey": attributes["partitionkey"],
        "sequence": sequence,
        **others,
    }


def test_a_perfect_run_passes() -> None:
    found = verdict(perfect())
    assert found.ok
    assert found.as_json() == {
        "published": 5,
        "expected": 10,
        "delivered": 10,
        "duplicates": 0,
        "superseded": 0,
        "dead": 0,
        "replayed": 0,
        "dead_after_replay": 0,
        "held": 0,
        "lost": 0,
        "leaked": 0,
        "seconds": 12.3,
    }
    assert not found.disordered


def test_what_never_came_is_lost() -> None:
    found = verdict(without(WEST, SHARED))
    assert [(lost.participant, lost.event, lost.reason) for lost in found.lost] == [
        (WEST, SHARED, "never came")
    ]
    assert not found.ok


@pytest.mark.parametrize("event", [CREATED, CLOSED, HOURLY])
def test_a_delivery_that_was_not_accepted_does_not_count(event: Identity) -> None:
    refused = [line(EAST, event, answered="500"), line(EAST, event, answered="hang")]
    found = verdict(without(EAST, event, *refused))
    assert [lost.reason for lost in found.lost] == ["came 2 times: answered 500, answered hang"]
    assert not found.leaked
    assert verdict(without(EAST, event, *refused, line(EAST, event))).ok


@pytest.mark.parametrize("answered", ["401", "204"])
def test_a_wrong_signature_does_not_count(answered: str) -> None:
    found = verdict(without(WEST, SHARED, line(WEST, SHARED, verified=False, answered=answered)))
    assert [lost.reason for lost in found.lost] == ["came 1 times: wrong signature"]


def test_a_body_of_something_else_does_not_count() -> None:
    found = verdict(without(WEST, SHARED, line(WEST, SHARED, body='{"about": "7001"}')))
    assert [lost.reason for lost in found.lost] == ["came 1 times: body of something else"]


def test_what_came_twice_is_a_duplicate_and_no_failure() -> None:
    found = verdict([*perfect(), line(EAST, CLOSED, at=90), line(EAST, CLOSED, at=91)])
    assert (found.ok, found.duplicates, found.delivered) == (True, 2, 10)


def test_a_dead_letter_with_its_cause_is_not_lost() -> None:
    tries = [line(WEST, SHARED, answered="422", attempt=attempt) for attempt in (1, 2, 3)]
    found = verdict(without(WEST, SHARED, *tries), letters=[row("ep_west", SHARED, cause="rejected")])
    assert (found.ok, found.dead, found.causes, found.delivered) == (True, 1, {"rejected": 1}, 9)


REPLAY = "rp_1"


def replayed(event: Identity = SHARED, **others: object) -> list[dict[str, Any]]:
    """What West's dead letter is in the end: replayed, unless told otherwise."""
    told = {"cause": "rejected", "group": "rejected: HTTP 422", "unready": "", "replay": REPLAY}
    return [row("ep_west", event, **told, state="delivered") | others]


def refused_and(*instead: dict[str, Any]) -> list[dict[str, Any]]:
    return without(WEST, SHARED, line(WEST, SHARED, answered="422"), *instead)


def test_a_dead_letter_that_a_replay_delivers_was_dead_and_is_delivered() -> None:
    found = verdict(refused_and(line(WEST, SHARED, at=99, replay=REPLAY)), letters=replayed())
    assert found.ok
    assert (found.dead, found.causes) == (1, {"rejected": 1})
    assert (found.delivered, found.replayed, found.dead_after_replay) == (10, 1, 0)
    assert found.relief == (Relief("rejected: HTTP 422", 1, 1, 0, 1, 1, 0),)


@pytest.mark.parametrize("receipts", [[], [line(WEST, SHARED, answered="422", at=99, replay=REPLAY)]])
def test_a_replay_that_does_not_deliver_leaves_it_dead(receipts: list[dict[str, Any]]) -> None:
    again = [*replayed(state="dead again"), *replayed(state="dead", replay=None)]
    found = verdict(refused_and(*receipts), letters=again)
    assert (found.dead, found.replayed, found.dead_after_replay, found.delivered) == (1, 1, 1, 9)
    assert found.relief == (Relief("rejected: HTTP 422", 1, 1, 0, 1, 0, 1),)
    assert not found.lost
    assert not found.ok


def test_what_the_preflight_keeps_back_stays_dead() -> None:
    letters = replayed(state="dead", replay=None, unready="the endpoint is paused")
    found = verdict(refused_and(), letters=letters)
    assert found.relief == (Relief("rejected: HTTP 422", 1, 0, 1, 0, 0, 1),)
    assert (found.replayed, found.dead_after_replay, found.ok) == (0, 1, False)


@pytest.mark.parametrize("others", [{}, {"replay": "rp_2"}, {"replay": REPLAY, "verified": False}])
def test_what_is_said_to_be_replayed_must_have_come_with_the_replay(others: dict[str, object]) -> None:
    found = verdict(refused_and(line(WEST, SHARED, at=99, **others)), letters=replayed())
    assert [lost.event for lost in found.lost] == [SHARED]
    assert found.dead_after_replay == 0


def test_what_came_by_a_replay_must_be_recorded_as_delivered() -> None:
    lines = refused_and(line(WEST, SHARED, at=99, replay=REPLAY))
    found = verdict(lines, letters=replayed(state="replaying"))
    assert (found.dead_after_replay, found.ok) == (1, False)


@pytest.mark.parametrize(
    "astray",
    [
        line(EAST, SHARED, at=99, replay=REPLAY),
        line(NORTH, CLOSED, at=99, replay=REPLAY),
        line(WEST, SHARED, at=99, replay="rp_2"),
        line(EAST, SHARED, at=99, replay=REPLAY, answered="500"),
    ],
)
def test_a_replay_that_reaches_anybody_else_is_a_leak(astray: dict[str, Any]) -> None:
    lines = refused_and(line(WEST, SHARED, at=98, replay=REPLAY), astray)
    found = verdict(lines, letters=replayed())
    assert [leak.reason for leak in found.leaked] == ["came by a replay that it is not in"]


def test_what_a_worker_recovered_is_no_replay() -> None:
    found = verdict(without(WEST, SHARED, line(WEST, SHARED, at=99, replay="rc_1")))
    assert (found.ok, found.delivered) == (True, 10)


def test_a_replay_under_another_webhook_id_is_a_leak() -> None:
    other = line(WEST, SHARED, at=99, replay=REPLAY, webhook_id="evt_another")
    found = verdict(refused_and(other), letters=replayed())
    assert [leak.reason for leak in found.leaked] == ["was published twice: it came under two webhook IDs"]


def test_a_replay_that_comes_twice_is_a_duplicate() -> None:
    lines = refused_and(*(line(WEST, SHARED, at=at, replay=REPLAY) for at in (98, 99)))
    found = verdict(lines, letters=replayed())
    assert (found.ok, found.duplicates) == (True, 1)


def test_a_replay_that_is_superseded_is_no_loss() -> None:
    letters = [row("ep_east", CREATED, cause="failed", state="delivered", replay=REPLAY)]
    found = verdict(without(EAST, CREATED), letters=letters, superseded=[row("ep_east", CREATED)])
    assert (found.ok, found.superseded, found.dead, found.dead_after_replay) == (True, 1, 1, 0)


def test_an_old_status_that_is_replayed_is_not_out_of_order() -> None:
    """It was given up, so what is newer came before it; but two replayed ones keep their order."""
    letters = [
        row("ep_north", event, cause="rejected", state="delivered", replay=REPLAY)
        for event in (CREATED, CHANGED)
    ]
    rest = without(NORTH, CREATED)
    found = verdict([*rest, line(NORTH, CREATED, at=98, replay=REPLAY)], letters=letters[:1])
    assert not found.disordered
    rest = [one for one in rest if (one["receiver"], one["event"]) != (NORTH, line("", CHANGED)["event"])]
    late = [line(NORTH, CHANGED, at=98, replay=REPLAY), line(NORTH, CREATED, at=99, replay=REPLAY)]
    found = verdict([*rest, *late], letters=letters)
    assert [late.event for late in found.disordered] == [CREATED]


def test_a_dead_letter_without_a_cause_is_lost() -> None:
    found = verdict(without(WEST, SHARED), letters=[row("ep_west", SHARED, cause="")])
    assert [lost.reason for lost in found.lost] == ["its dead letter has no cause"]


def test_a_dead_letter_of_another_endpoint_excuses_nothing() -> None:
    found = verdict(without(WEST, SHARED), letters=[row("ep_east", SHARED, cause="rejected")])
    assert [lost.participant for lost in found.lost] == [WEST]
    assert found.dead == 0


def test_a_superseded_status_is_not_lost_when_a_newer_one_came() -> None:
    found = verdict(without(EAST, CREATED), superseded=[row("ep_east", CREATED)])
    assert (found.ok, found.superseded) == (True, 1)


def test_nothing_is_superseded_by_what_did_not_come() -> None:
    found = verdict(without(EAST, CHANGED), superseded=[row("ep_east", CHANGED)])
    assert [lost.event for lost in found.lost] == [CHANGED]


@pytest.mark.parametrize(
    ("participant", "endpoint", "event"), [(NORTH, "ep_north", CREATED), (EAST, "ep_east", CLOSED)]
)
def test_only_outages_at_latest_only_endpoints_may_be_superseded(
    participant: str, endpoint: str, event: Identity
) -> None:
    found = verdict(without(participant, event), superseded=[row(endpoint, event)])
    assert [lost.event for lost in found.lost] == [event]
    assert "none may be skipped" in found.lost[0].reason


@pytest.mark.parametrize("answered", ["204", "500"])
def test_an_event_for_somebody_else_is_leaked_whatever_the_answer(answered: str) -> None:
    found = verdict([*perfect(), line(WEST, CREATED, answered=answered)])
    assert [(leak.participant, leak.reason) for leak in found.leaked] == [
        (WEST, "is not for this participant")
    ]
    assert not found.ok


def test_a_public_event_that_was_not_subscribed_to_is_leaked() -> None:
    found = verdict([*perfect(), line(WEST, CLOSED)])
    assert [leak.reason for leak in found.leaked] == ["was not subscribed to"]


@pytest.mark.parametrize(
    "event",
    [
        *EXPECTATION.parked,
        Identity("oms.resource-outage.changed", "7001", 3),
        Identity("market.rtm.closed", "2026-03-08", 19),
    ],
)
def test_an_event_that_was_not_to_be_published_is_leaked(event: Identity) -> None:
    found = verdict([*perfect(), line(EAST, event)])
    assert [leak.reason for leak in found.leaked] == ["was not to be published"]


def test_an_event_under_two_webhook_ids_is_leaked() -> None:
    found = verdict([*perfect(), line(EAST, CLOSED, at=99, webhook_id="evt_another")])
    assert [leak.reason for leak in found.leaked] == ["was published twice: it came under two webhook IDs"]


def spoil_header(found: dict[str, Any]) -> None:
    found["headers"] = [*found["headers"], ["bcc", f"oms.resource-outage.created.{EAST}"]]


def spoil_body(found: dict[str, Any]) -> None:
    found["body"] = json.dumps({"about": SHARED.about, "owners": [EAST, WEST]})


def spoil_binary_body(found: dict[str, Any]) -> None:
    del found["body"]
    found["body_base64"] = base64.b64encode(
        b"\xff" + SHARED.about.encode() + b"\x00" + EAST.encode()
    ).decode()


def spoil_target(found: dict[str, Any]) -> None:
    found["target"] = f"/{EAST}"


@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        (spoil_header, "the header bcc"),
        (spoil_body, "the body"),
        (spoil_binary_body, "the body"),
        (spoil_target, "the target"),
    ],
)
def test_any_byte_that_names_another_participant_is_a_leak(
    spoil: Callable[[dict[str, Any]], None], place: str
) -> None:
    spoiled = line(WEST, SHARED)
    spoil(spoiled)
    found = verdict(without(WEST, SHARED, spoiled))
    assert [leak.reason for leak in found.leaked] == [f"names {EAST} in {place}"]
    assert not found.lost


def test_a_name_within_a_longer_word_or_a_digest_names_nobody() -> None:
    spoiled = line(WEST, SHARED, body=json.dumps({"about": SHARED.about, "name": f"{EAST}_1_UNIT 2"}))
    spoiled["headers"] = [*spoiled["headers"], ["webhook-signature", f"v1,{EAST}/3c="]]
    assert verdict(without(WEST, SHARED, spoiled)).ok


def test_news_of_ones_own_endpoint_is_welcome_and_of_anothers_a_leak() -> None:
    held = Identity("system.endpoint.held", "ep_east", None)
    news = line(EAST, held) | {"event": {"type": held.type, "partitionkey": held.about}}
    assert verdict([*perfect(), news]).ok
    found = verdict([*perfect(), news | {"receiver": NORTH, "target": "/"}])
    assert [leak.reason for leak in found.leaked] == ["is about another's endpoint"]


@pytest.mark.parametrize("published", [4, 6])
def test_another_number_of_published_events_fails(published: int) -> None:
    found = verdict(perfect(), published=published)
    assert not found.ok
    assert found.due == 5


def test_a_held_endpoint_fails() -> None:
    found = verdict(perfect(), held=["ep_east"])
    assert not found.ok
    assert found.as_json()["held"] == 1


def test_a_late_status_at_an_ordered_endpoint_shows() -> None:
    late = [replace(receipt_of(found), at=99.0) for found in [line(NORTH, CREATED)]]
    rest = [receipt_of(found) for found in without(NORTH, CREATED)]
    found = judge(
        PLAN,
        EXPECTATION,
        rest + late,
        published=5,
        endpoints=ENDPOINTS,
        letters=[],
        superseded=[],
        held=[],
        seconds=1,
    )
    assert [(late.participant, late.event, late.reason) for late in found.disordered] == [
        (NORTH, CREATED, "came after sequence 2")
    ]
    assert not found.ok


PAIRS = sorted(
    ((participant, event) for participant, events in EXPECTATION.due.items() for event in events), key=str
)
NAMES = {participant: endpoint for endpoint, participant in ENDPOINTS.items()}
some = st.sets(st.sampled_from(PAIRS))


@given(taken=some, failed=some, dead=some, skipped=some, tried=some, mended=some)
def test_every_expected_delivery_has_one_fate(
    *,
    taken: set[tuple[str, Identity]],
    failed: set[tuple[str, Identity]],
    dead: set[tuple[str, Identity]],
    skipped: set[tuple[str, Identity]],
    tried: set[tuple[str, Identity]],
    mended: set[tuple[str, Identity]],
) -> None:
    """``tried`` are those dead ones that were replayed, ``mended`` those that it delivered."""
    tried, mended = tried & dead, mended & tried & dead
    lines = [line(*pair, answered="500") for pair in failed] + [line(*pair, at=1) for pair in taken]
    lines += [line(*pair, at=2, replay=REPLAY) for pair in mended]
    found = verdict(
        lines,
        letters=[
            row(NAMES[participant], event, cause="rejected", group="rejected", unready="")
            | {"replay": REPLAY if (participant, event) in tried else None}
            | {"state": "delivered" if (participant, event) in mended else "dead"}
            for participant, event in dead
        ],
        superseded=[row(NAMES[participant], event) for participant, event in skipped],
    )
    given_up = found.dead_after_replay + len(found.lost)
    assert found.expected == len(PAIRS) == found.delivered + found.superseded + given_up
    assert found.delivered == len(taken - tried | mended)
    assert found.dead == len(dead - taken)
    assert (found.replayed, sum(group.delivered for group in found.relief)) == (len(tried), len(mended))
    assert {(lost.participant, lost.event) for lost in found.lost} >= set(PAIRS) - taken - dead - skipped
    assert not found.leaked


def receipts(*lines: dict[str, Any]) -> list[Receipt]:
    return [receipt_of(found) for found in lines]


FAULTS = [
    (Fault("down"), line(EAST, CLOSED, attempt=2), line(EAST, CLOSED, attempt=1)),
    (Fault("slow", seconds=0.5), line(EAST, CLOSED, delay=0.5), line(EAST, CLOSED, delay=0.4)),
    (Fault("failing", every=3), line(EAST, CLOSED, answered="500"), line(EAST, CLOSED, answered="503")),
    (Fault("refusing", types=(CLOSED.type,)), line(EAST, CLOSED, answered="422"), line(EAST, CLOSED)),
]


@pytest.mark.parametrize(("fault", "telling", "other"), FAULTS, ids=lambda value: getattr(value, "kind", ""))
def test_a_planned_fault_shows_in_the_record(
    fault: Fault, telling: dict[str, Any], other: dict[str, Any]
) -> None:
    again = line(EAST, CLOSED, attempt=3)
    assert fault_seen(fault, receipts(telling, again)).startswith("1 ")
    assert fault_seen(fault, receipts(other, again)) == ""
    assert fault_seen(fault, []) == ""


def test_the_verdict_tells_which_faults_were_seen() -> None:
    faults = {EAST: FAULTS[0][0], WEST: FAULTS[1][0]}
    plan = replace(
        PLAN, participants=tuple(replace(each, fault=faults.get(each.id)) for each in PLAN.participants)
    )
    lines = without(EAST, CLOSED, line(EAST, CLOSED, attempt=2))
    found = verdict(lines, plan=plan)
    assert {fault.participant: bool(fault.evidence) for fault in found.faults} == {EAST: True, WEST: False}
    assert not found.ok


def test_a_record_on_disk_reads_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "received.jsonl"
    path.write_text("".join(json.dumps(found) + "\n" for found in perfect()))
    assert list(read_receipts(path)) == receipts(*perfect())


def test_what_a_receiver_writes_down_reads_as_a_receipt() -> None:
    found = line(WEST, HOURLY)
    received = Received(
        receiver=WEST,
        target=f"/{WEST}",
        headers=[("host", "127.0.0.1"), ("webhook-id", "evt_1"), ("claimbus-attempt", "2")],
        event=found["event"],
        size=3,
        sha256="",
        body=b"\xff\x00\xff",
        verified=True,
        answered="204",
        wall=5.0,
    )
    receipt = receipt_of(json.loads(received.line()))
    assert (receipt.participant, receipt.identity, receipt.webhook_id) == (WEST, HOURLY, "evt_1")
    assert (receipt.attempt, receipt.at, receipt.body, receipt.accepted) == (2, 5.0, b"\xff\x00\xff", True)
