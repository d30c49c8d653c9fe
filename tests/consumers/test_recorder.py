"""Attempts are written for all lanes: one lane's mistake stays its own."""

import asyncio

from claimbus.database import attempts
from claimbus.database.attempts import Attempt, new_id
from consumers.recorder import Recorder
from tests.consumers.house import House


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
