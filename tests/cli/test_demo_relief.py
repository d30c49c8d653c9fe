"""The operator's part of the demo where it does not go well, and where there is nothing to do."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from claimbus.cli.demo.relief import Operator
from claimbus.cli.demo.scenario import make_scenario
from claimbus.database import letters, replays
from claimbus.database.letters import DeadLetter
from claimbus.events.fingerprint import fingerprint
from tests.kills.play import Play, playing


@pytest.fixture
async def play(amqp_url: str, redis_url: str, key_prefix: str, tmp_path: Path) -> AsyncIterator[Play]:
    async with playing(make_scenario(days=2), tmp_path, amqp_url, redis_url, key_prefix) as play:
        yield play


async def replay_count(play: Play) -> int:
    return len((await play.stage.database.read(replays.find)).rows)


async def test_where_nothing_is_dead_it_says_so(play: Play) -> None:
    await play.run.relieve()
    assert play.said.getvalue().splitlines()[-1].endswith("operator: nothing is dead, so nothing is replayed")
    assert await replay_count(play) == 0


async def test_what_is_not_ready_is_told_and_not_replayed(play: Play) -> None:
    endpoint, now, why = (
        next(iter(play.stage.endpoints.values())),
        datetime.now(UTC),
        fingerprint("rejected", 422, "HTTP 422"),
    )
    letter = DeadLetter(
        id="dl_1",
        state_at=now,
        died_at=now,
        cause=why.cause,
        fingerprint=why.id,
        status=why.status,
        detail="HTTP 422",
        attempts=3,
        endpoint_id=endpoint.id,
        participant_id=endpoint.participant_id,
        message_id="evt_1",
        type="market.dam.closed",
        claim_id="a-claim-that-is-nowhere",
    )
    await play.stage.database.run(lambda sql: letters.record(sql, [letter], [why], []))
    await play.run.relieve()
    assert "preflight: 0 ready, 1 not ready" in play.said.getvalue()
    assert await replay_count(play) == 0
    (relief,) = (await play.verdict()).relief
    assert (relief.group, relief.unready, relief.replayed, relief.dead) == ("rejected: HTTP 422", 1, 0, 1)


async def test_an_endpoint_that_is_not_mended_stops_the_replay_and_fails_the_demo(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def leave_as_it_is(_operator: Operator) -> None:
        pass

    monkeypatch.setattr(Operator, "_mend", leave_as_it_is)
    await play.start_worker("worker")
    await play.run.until_consumed()
    await play.run.publish()
    await play.run.settle()
    await play.run.relieve()
    verdict = await play.verdict()
    assert " paused (" in play.said.getvalue()
    assert verdict.dead_after_replay == verdict.dead > 0
    assert verdict.replayed == 1
    assert (verdict.lost, verdict.leaked, verdict.ok) == ((), (), False)
