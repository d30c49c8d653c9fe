"""The parts run side by side, one that fails is started anew, and all end in order; the gauges follow."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from claimbus.database import kept, letters
from claimbus.database.audit import Act
from claimbus.database.letters import EVERYTHING
from claimbus.deadletters.attendant import Attendant
from claimbus.deadletters.measuring import Measuring
from claimbus.deadletters.metrics import LettersMetrics
from tests.consumers.house import House
from tests.deadletters.backlog import give_up, recorded, recording, waits
from tests.waiting import eventually

ENDS = ["runner ends", "recorder ends", "retention ends", "measuring ends"]


class Work:
    """A part that fails so many times, then goes on, and says when it begins and ends."""

    def __init__(
        self, name: str, said: list[str], *, failures: int = 0, fails_at_the_end: bool = False
    ) -> None:
        self.name = name
        self.said = said
        self.failures = failures
        self.fails_at_the_end = fails_at_the_end

    async def run(self) -> None:
        self.said.append(f"{self.name} begins")
        if self.failures:
            self.failures -= 1
            raise ValueError("a mistake")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.said.append(f"{self.name} ends")
            if self.fails_at_the_end:
                raise ValueError("a mistake")


def attendant(said: list[str], *, failures: int = 0, fails_at_the_end: bool = False) -> Attendant:
    return Attendant(
        runner=Work("runner", said, fails_at_the_end=fails_at_the_end),
        recorder=Work("recorder", said, failures=failures),
        retention=Work("retention", said),
        measuring=Work("measuring", said),
        restart_after=0.01,
    )


async def test_the_parts_run_side_by_side_and_end_one_after_the_other() -> None:
    said: list[str] = []
    stop = asyncio.Event()
    running = asyncio.create_task(attendant(said).run(stop))
    await eventually(lambda: len(said) == 4)
    assert set(said) == {"runner begins", "recorder begins", "retention begins", "measuring begins"}
    stop.set()
    await running
    assert said[4:] == ENDS


async def test_an_attendant_that_is_cancelled_ends_its_parts_too() -> None:
    said: list[str] = []
    running = asyncio.create_task(attendant(said).run(asyncio.Event()))
    await eventually(lambda: len(said) == 4)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert said[4:] == ENDS


async def test_a_part_that_fails_is_logged_and_started_anew_and_the_others_go_on() -> None:
    said: list[str] = []
    stop = asyncio.Event()
    with capture_logs() as logs:
        running = asyncio.create_task(attendant(said, failures=2).run(stop))
        await eventually(lambda: said.count("recorder begins") == 3)
        stop.set()
        await running
    assert [(one["event"], one["part"]) for one in logs] == [("part failed", "recorder")] * 2
    assert [line for line in said if line.endswith("ends")] == ENDS


async def test_a_part_that_fails_at_its_end_holds_up_no_other() -> None:
    said: list[str] = []
    stop = asyncio.Event()
    running = asyncio.create_task(attendant(said, fails_at_the_end=True).run(stop))
    await eventually(lambda: len(said) == 4)
    stop.set()
    await running
    assert said[4:] == ENDS


async def test_the_gauges_tell_what_the_database_and_the_queue_hold(house: House) -> None:
    registry = CollectorRegistry()
    measuring = Measuring(house.connection, house.database, budget=10_000, metrics=LettersMetrics(registry))

    def gauge(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"claimbus_{name}", labels)

    async with recording(house):
        await give_up(house, count=3)
        await eventually(lambda: recorded(house, at_least=3))
    await eventually(lambda: waits(house, 0))
    await give_up(house, count=2)
    await measuring.measure()
    assert gauge("dead_letters", cause="rejected") == 3
    assert gauge("dead_letter_bytes") == await house.database.read(kept.stored_bytes)
    assert gauge("dead_letter_budget_bytes") == 10_000
    assert gauge("recorder_lag") == 2
    ids = await house.database.read(lambda sql: letters.select_ids(sql, EVERYTHING))
    await house.database.run(lambda sql: letters.discard(sql, ids, Act("tests", "a test")))
    await measuring.measure()
    assert gauge("dead_letters", cause="rejected") is None


async def test_nearly_full_is_an_alarm_each_time_it_is_measured(house: House) -> None:
    async with recording(house):
        await give_up(house)
        await eventually(lambda: recorded(house, at_least=1))
    stored = await house.database.read(kept.stored_bytes)

    async def warnings(budget: int) -> list[str]:
        metrics = LettersMetrics(CollectorRegistry())
        measuring = Measuring(house.connection, house.database, budget=budget, metrics=metrics)
        with capture_logs() as logs:
            await measuring.measure()
            await measuring.measure()
        return [one["event"] for one in logs if one["log_level"] == "warning"]

    assert await warnings(stored * 2) == []
    assert await warnings(stored + 1) == ["letters fill their budget"] * 2
