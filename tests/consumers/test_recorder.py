"""Attempts are written for all lanes: one lane's mistake stays its own."""

import asyncio

import pytest

from claimbus.database import attempts
from claimbus.database.attempts import Attempt, new_id
from consumers import recorder as recording_of
from consumers.recorder import Recorder
from tests.consumers.house import House
from tests.waiting import eventually


def attempt() -> Attempt:
    return Attempt(
        started_ms=1,
        id=new_id(),
        endpoint_id="ep_1",
        message_id="evt_1",
        verdict="delivered",
        participant_id="AAA1",
        type="market.dam.closed",
        claim_id="claim",
        attempt=1,
        status=None,
        duration_ms=1,
        next="ack",
        detail=None,
        answer_head=None,
        replay=None,
        source="urn:test",
        event_id="1",
        partitionkey=None,
        sequence=None,
    )


async def test_a_mistake_after_one_row_does_not_end_the_recording_of_the_others(house: House) -> None:
    recorder, recorded = Recorder(house.database), asyncio.Event()
    recording = asyncio.create_task(recorder.run())

    def mistake() -> None:
        raise LookupError("a mistake of ours")

    recorder.record(attempt(), mistake)
    recorder.record(attempt(), recorded.set)
    async with asyncio.timeout(10):
        await recorded.wait()
    recorder.close()
    await recording
    found = await house.database.read(attempts.find)
    assert len(found.rows) == 2


async def test_while_a_write_takes_long_no_further_attempt_is_made(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_of, "SLOW", 0.1)
    recorder, recorded = Recorder(house.database), asyncio.Event()
    recording = asyncio.create_task(recorder.run())
    with house.locked_database():
        recorder.record(attempt(), recorded.set)
        await eventually(lambda: not recorder.available)
        assert not recorded.is_set()
    async with asyncio.timeout(10):
        await recorder.ready()
        await recorded.wait()
    recorder.close()
    await recording
