"""One at a time, each once, and what is in work is finished."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from claimbus.subscribers import Received, SinkError, StoppingError
from claimbus.subscribers.dedupe import Dedupe
from claimbus.subscribers.errors import SinkClosedError
from claimbus.subscribers.inbox import Inbox
from claimbus.subscribers.sinks import Done, Sink
from tests.subscribers.sender import received
from tests.waiting import eventually


class Gate(Sink):
    """A sink that takes an event when it is let."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begun: list[str] = []
        self.taken: list[str] = []
        self.fails: Exception | None = None
        self.closed = False

    async def take(self, event: Received, done: Done) -> None:
        self.begun.append(event.id)
        await self.open.wait()
        if self.fails:
            raise self.fails
        self.taken.append(event.id)
        await done()

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def inbox(gate: Gate, tmp_path: Path) -> AsyncIterator[Inbox]:
    inbox = Inbox(gate, Dedupe(tmp_path / "taken.db"))
    yield inbox
    gate.open.set()
    await inbox.aclose()


async def test_a_duplicate_is_not_taken_again(inbox: Inbox, gate: Gate) -> None:
    gate.open.set()
    assert [await inbox.handle(received()) for _ in range(3)] == ["taken", "duplicate", "duplicate"]
    assert gate.taken == ["event-1"]


async def test_a_duplicate_of_an_event_in_work_waits_for_it(inbox: Inbox, gate: Gate) -> None:
    first = asyncio.create_task(inbox.handle(received()))
    await eventually(lambda: gate.begun)
    second = asyncio.create_task(inbox.handle(received()))
    await asyncio.wait({second}, timeout=0.1)
    assert not second.done()
    gate.open.set()
    assert (await first, await second) == ("taken", "duplicate")
    assert gate.taken == ["event-1"]


async def test_a_duplicate_does_not_wait_for_another_event(inbox: Inbox, gate: Gate) -> None:
    gate.open.set()
    await inbox.handle(received(1))
    gate.open.clear()
    slow = asyncio.create_task(inbox.handle(received(2)))
    await eventually(lambda: len(gate.begun) == 2)
    assert await inbox.handle(received(1)) == "duplicate"
    gate.open.set()
    await slow


async def test_events_are_taken_one_at_a_time(inbox: Inbox, gate: Gate) -> None:
    work = [asyncio.create_task(inbox.handle(received(number))) for number in range(5)]
    await eventually(lambda: gate.begun)
    assert gate.begun == ["event-0"]
    gate.open.set()
    assert set(await asyncio.gather(*work)) == {"taken"}
    assert sorted(gate.taken) == [f"event-{number}" for number in range(5)]


async def test_what_was_not_taken_may_come_again(inbox: Inbox, gate: Gate) -> None:
    gate.open.set()
    gate.fails = SinkError("no")
    with pytest.raises(SinkError):
        await inbox.handle(received())
    gate.fails = None
    assert await inbox.handle(received()) == "taken"


async def test_stopping_finishes_the_event_in_work_and_no_other(inbox: Inbox, gate: Gate) -> None:
    current = asyncio.create_task(inbox.handle(received(1)))
    await eventually(lambda: gate.begun)
    waiting = asyncio.create_task(inbox.handle(received(2)))
    inbox.stop()
    gate.open.set()
    assert await current == "taken"
    with pytest.raises(StoppingError):
        await waiting
    with pytest.raises(StoppingError):
        await inbox.handle(received(3))
    assert gate.taken == ["event-1"]
    assert not inbox.failed


async def test_closing_waits_for_the_event_in_work(inbox: Inbox, gate: Gate) -> None:
    current = asyncio.create_task(inbox.handle(received(1)))
    await eventually(lambda: gate.begun)
    closing = asyncio.create_task(inbox.aclose())
    await asyncio.wait({closing}, timeout=0.1)
    assert not gate.closed
    gate.open.set()
    await closing
    assert await current == "taken"
    assert gate.closed


async def test_a_caller_who_leaves_does_not_cut_an_event_short(inbox: Inbox, gate: Gate) -> None:
    caller = asyncio.create_task(inbox.handle(received(1)))
    await eventually(lambda: gate.begun)
    caller.cancel()
    await asyncio.wait({caller})
    gate.open.set()
    assert await inbox.handle(received(1)) == "duplicate"
    assert gate.taken == ["event-1"]


async def test_a_sink_that_is_gone_ends_the_work(inbox: Inbox, gate: Gate) -> None:
    gate.open.set()
    gate.fails = SinkClosedError("broken pipe")
    with pytest.raises(SinkClosedError):
        await inbox.handle(received())
    assert inbox.stopped.is_set()
    assert inbox.failed


async def test_with_latest_an_old_status_is_left_out_and_without_it_is_not(
    gate: Gate, tmp_path: Path
) -> None:
    gate.open.set()
    newer = received(2, partitionkey="15120034", sequence=10)
    older = received(1, partitionkey="15120034", sequence=9)
    for latest, expected in [(True, "stale"), (False, "taken")]:
        inbox = Inbox(gate, Dedupe(tmp_path / f"{latest}.db"), latest=latest)
        assert await inbox.handle(newer) == "taken"
        assert await inbox.handle(older) == expected
        await inbox.aclose()


async def test_each_event_is_one_line_in_the_log_without_its_body(inbox: Inbox, gate: Gate) -> None:
    gate.open.set()
    event = received(partitionkey="15120034", sequence=3, body=b'{"secret": "4711"}')
    with capture_logs() as logs:
        await inbox.handle(event)
        await inbox.handle(event)
        gate.fails = SinkError("exit code 3")
        with pytest.raises(SinkError):
            await inbox.handle(received(2))
    assert [log["event"] for log in logs] == ["event taken", "event duplicate", "event not taken"]
    assert {"message_id", "type", "partitionkey", "sequence", "attempt", "size"} <= logs[0].keys()
    assert logs[2]["reason"] == "exit code 3"
    assert "4711" not in repr(logs)
