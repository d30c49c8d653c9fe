"""SIGKILL between copy, commit and ack: no letter is lost, none is there twice, and every body is whole."""

import asyncio
import signal
import sys
from contextlib import suppress

import pytest

from tests.consumers.house import House
from tests.deadletters.backlog import CHUNKED, give_up, kept_body, recorded, recording, waits
from tests.deadletters.recording import POINTS
from tests.waiting import eventually


@pytest.mark.parametrize("point", POINTS)
async def test_a_recorder_killed_at_any_point_loses_nothing(house: House, point: str) -> None:
    bodies = {one.body.decode(): b"{}" for one in await give_up(house, count=20)}
    bodies |= {one.body.decode(): CHUNKED for one in await give_up(house, count=2, body=CHUNKED)}
    settings = house.wiring.settings
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.deadletters.recording", point),
        *(settings.amqp_url, settings.redis_url, settings.key_prefix, settings.database_url),
    )
    try:
        async with asyncio.timeout(30):
            assert await killed.wait() == -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):
            killed.kill()  # it must not outlive a test in which it did not come to the point
    await eventually(lambda: waits(house, len(bodies)))  # nothing was acked
    before = len(await recorded(house) or ())
    assert before == (len(bodies) if point == "before the ack" else 0)

    (last,) = await give_up(house)
    bodies[last.body.decode()] = b"{}"
    async with recording(house) as counted:
        await eventually(lambda: counted("letters_recorded_total") == len(bodies) - before)
    assert await waits(house, 0)
    rows = await recorded(house) or ()
    assert sorted(row.claim_id or "" for row in rows) == sorted(bodies)
    for claim_id, body in bodies.items():
        assert await kept_body(house, claim_id) == body
