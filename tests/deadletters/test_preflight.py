"""What a replay would meet, counted and told letter by letter; nothing is changed."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from claimbus.database import endpoints, letters, participants
from claimbus.database.audit import Act
from claimbus.database.letters import DeadLetter
from claimbus.deadletters import preflight
from claimbus.deadletters.preflight import Preflight
from tests.deadletters.stage import ACT, REJECTED, Cemetery, attempt, event, open_cemetery


@pytest.fixture
async def cemetery(redis_url: str, key_prefix: str, sqlite_url: str) -> AsyncIterator[Cemetery]:
    async with open_cemetery(redis_url, key_prefix, sqlite_url) as cemetery:
        cemetery.participant("AAA1")
        yield cemetery


@pytest.fixture
def look(cemetery: Cemetery) -> Preflight:
    return Preflight(cemetery.database, cemetery.store, cemetery.holds)


def ids(found: list[DeadLetter]) -> list[str]:
    return [letter.id for letter in found]


async def test_letters_in_whose_way_nothing_stands_are_ready(cemetery: Cemetery, look: Preflight) -> None:
    found = await cemetery.bury(cemetery.endpoint("AAA1"), count=5)
    report = await look.run(ids(found), rate=2.0)
    assert (report.letters, report.ready, report.not_ready) == (5, 5, {})
    assert (report.bodies, report.endpoints) == ({"redis": 5}, {"active": 5})
    assert (report.not_entitled, report.duplicates) == (0, 0)
    assert report.seconds == 2.5


async def test_each_body_is_told_by_where_it_is(cemetery: Cemetery, look: Preflight) -> None:
    endpoint = cemetery.endpoint("AAA1")
    (here,) = await cemetery.bury(endpoint)
    (kept,) = await cemetery.bury(endpoint)
    await cemetery.forget(kept.claim_id)
    gone, corrupt = await cemetery.bury(endpoint, count=2, kept=False)
    await cemetery.forget(gone.claim_id)
    await cemetery.spoil(corrupt.claim_id)
    report = await look.run(ids([here, kept, gone, corrupt]), rate=None)
    assert report.bodies == {"redis": 1, "kept": 1, "gone": 1, "corrupt": 1}
    assert report.not_ready.keys() == {gone.id, corrupt.id}
    assert report.not_ready[gone.id].startswith("body gone")
    assert report.not_ready[corrupt.id].startswith("body corrupt")
    assert (report.ready, report.seconds) == (2, None)


async def test_each_endpoint_is_told_by_where_it_stands(cemetery: Cemetery, look: Preflight) -> None:
    names = ("active", "held", "paused", "disabled", "removed")
    of_name = {name: cemetery.endpoint("AAA1", name) for name in names}
    with cemetery.database.transaction() as sql:
        endpoints.pause(sql, of_name["paused"].id, Act("uaa", "moving house"))
        endpoints.disable(sql, of_name["disabled"].id, Act("uaa", "gone for good"))
        endpoints.remove(sql, of_name["removed"].id, ACT)
    for _ in range(5):
        await cemetery.holds.failed(of_name["held"].id)
    (unknown,) = await cemetery.bury(replace(of_name["active"], id="ep_nobody"))
    found = [(await cemetery.bury(endpoint))[0] for endpoint in of_name.values()]
    report = await look.run(ids([unknown, *found]), rate=1.0)
    assert report.endpoints == {"active": 1, "held": 1, "paused": 1, "disabled": 1, "removed": 2}
    assert [report.not_ready.get(letter.id) for letter in found] == [
        None,
        "endpoint is held: 5 failures in a row",
        "endpoint is paused: moving house",
        "endpoint is disabled: gone for good",
        "endpoint removed",
    ]
    assert report.not_ready[unknown.id] == "endpoint unknown"
    assert {(row.name, row.standing, row.letters, row.ready) for row in report.by_endpoint} == {
        (None, "removed", 1, 0),
        *((name, name, 1, int(name == "active")) for name in names),
    }


async def test_who_is_not_entitled_any_more_is_told(cemetery: Cemetery, look: Preflight) -> None:
    cemetery.participant("BBB1", "market.#")
    mine, other = cemetery.endpoint("AAA1"), cemetery.endpoint("BBB1")
    (not_in_audience,) = await cemetery.bury(mine, event("BBB1"))
    market, outage = await cemetery.bury(
        other, event("BBB1"), event("BBB1", type_="oms.resource-outage.ended")
    )
    report = await look.run(ids([not_in_audience, market, outage]), rate=None)
    assert (report.not_entitled, report.ready) == (2, 1)
    assert "not in the event's audience" in report.not_ready[not_in_audience.id]
    assert "oms.resource-outage.ended is not open to BBB1" in report.not_ready[outage.id]
    with cemetery.database.transaction() as sql:
        participants.open_event_types(sql, "BBB1", (), ACT)
    report = await look.run(ids([market]), rate=None)
    assert (report.not_entitled, report.ready) == (1, 0)


async def test_what_was_delivered_before_is_expected_twice(cemetery: Cemetery, look: Preflight) -> None:
    endpoint = cemetery.endpoint("AAA1")
    found = await cemetery.bury(endpoint, count=3)
    await cemetery.tell(
        attempt(found[0], None),
        attempt(replace(found[1], endpoint_id="ep_another"), None),
        attempt(found[2], None, **REJECTED),
    )
    report = await look.run(ids(found), rate=None)
    assert (report.duplicates, report.ready) == (1, 3)
    assert report.by_endpoint[0].duplicates == 1


async def test_what_waits_for_nobody_is_not_ready(cemetery: Cemetery, look: Preflight) -> None:
    """It was replayed or discarded meanwhile, there was no event in it, or there is no such letter."""
    discarded, good = await cemetery.bury(cemetery.endpoint("AAA1"), count=2)
    at = datetime.now(UTC)
    raw = DeadLetter(
        id="dl_raw",
        state_at=at,
        died_at=at,
        cause="undecodable",
        fingerprint="x",
        detail="",
        attempts=0,
        endpoint_id=discarded.endpoint_id,
        raw=b"\0",
    )
    with cemetery.database.transaction() as sql:
        letters.discard(sql, [discarded.id], Act("tests", "not wanted"))
        letters.record(sql, [raw], [], [])
    report = await look.run([discarded.id, "dl_unknown", raw.id, good.id], rate=None)
    assert report.not_ready == {
        discarded.id: "discarded already",
        "dl_unknown": "no such letter",
        raw.id: "there is no event: it was no ticket",
    }
    assert (report.letters, report.ready, report.not_entitled) == (4, 1, 0)


async def test_the_slowest_endpoint_tells_how_long_it_takes(cemetery: Cemetery, look: Preflight) -> None:
    few, many = cemetery.endpoint("AAA1", "few"), cemetery.endpoint("AAA1", "many")
    found = [*await cemetery.bury(few, count=2), *await cemetery.bury(many, count=6)]
    report = await look.run(ids(found), rate=4.0)
    assert report.seconds == 1.5
    assert [(row.name, row.seconds) for row in report.by_endpoint] == [("many", 1.5), ("few", 0.5)]


async def test_a_body_is_read_once_for_all_letters_about_it(
    cemetery: Cemetery, look: Preflight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when they are not looked at together; progress is told meanwhile."""
    monkeypatch.setattr(preflight, "AT_A_TIME", 2)
    (one,) = await cemetery.bury(cemetery.endpoint("AAA1", "first"))
    others = [replace(one, id=f"dl_{n}", endpoint_id=cemetery.endpoint("AAA1", f"{n}").id) for n in range(4)]
    with cemetery.database.transaction() as sql:
        letters.record(sql, others, [], [])
    read: list[str] = []
    stored = cemetery.store.stored

    def counted(claim_id: str, *, expires: int) -> AsyncIterator[bytes]:
        read.append(claim_id)
        return stored(claim_id, expires=expires)

    monkeypatch.setattr(cemetery.store, "stored", counted)
    told: list[tuple[int, int]] = []
    report = await look.run(ids([one, *others]), rate=None, on_progress=lambda *now: told.append(now))
    assert report.bodies == {"redis": 5}
    assert read == [one.claim_id]
    assert told == [(2, 5), (4, 5), (5, 5)]


async def test_nothing_is_changed(cemetery: Cemetery, look: Preflight) -> None:
    (letter,) = await cemetery.bury(cemetery.endpoint("AAA1"))
    await cemetery.forget(letter.claim_id)
    before = await cemetery.letters([letter])
    await look.run([letter.id], rate=1.0)
    assert await cemetery.keys(letter.claim_id) == []
    assert await cemetery.letters([letter]) == before


async def test_a_report_is_json(cemetery: Cemetery, look: Preflight) -> None:
    found = await cemetery.bury(cemetery.endpoint("AAA1"), count=2)
    report = await look.run(ids(found), rate=None)
    told = json.loads(json.dumps(report.as_json()))
    assert (told["letters"], told["by_endpoint"][0]["standing"]) == (2, "active")
