"""A run of the demo on an open stage: day by day, until all is settled, and then judged."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from itertools import islice
from typing import Any, Final

from claimbus.cli.demo.evidence import Pair, Row, pair_of
from claimbus.cli.demo.receipt import read_receipts
from claimbus.cli.demo.records import Records
from claimbus.cli.demo.relief import Operator
from claimbus.cli.demo.sending import Sender
from claimbus.cli.demo.sight import Sight
from claimbus.cli.demo.stage import DOWN, Stage
from claimbus.cli.demo.verdict import Verdict, judge
from claimbus.cli.demo.view import View
from claimbus.events.errors import UnavailableError
from producers import feed

LOOK_EVERY: Final = 0.25
"""Seconds between two looks at how it goes."""

READY_WITHIN: Final = 60.0
"""Seconds for the workers to take up all queues."""

PATIENCE: Final = 45.0
"""Seconds without anything new after which what is missing is lost; the ladder's longest pause is 12."""

DAY: Final = 1.5
ALL_DAYS: Final = 9.0
"""Seconds that a trade date takes at least, and all of them together: no faster than one can follow."""


class Run:
    """Opened by `open`. ``sight`` is what can be seen of it."""

    def __init__(self, stage: Stage, view: View, sight: Sight) -> None:
        self.sight = sight
        self._stage = stage
        self._view = view
        self._records = Records(stage)
        self._operator = Operator(stage, view)
        self._published = 0
        self._superseded = 0
        self._letters: Mapping[str, int] = {}
        self._given_up: set[Pair] = set()
        self._down: dict[str, float] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, stage: Stage, view: View) -> AsyncIterator["Run"]:
        """Begin to watch the stage. Raises UnavailableError."""
        with closing(Sight(stage.scenario, stage.receivers.record)) as sight:
            yield cls(stage, view, sight)

    async def carry_out(self, *companions: Coroutine[Any, Any, None]) -> None:
        """Publish everything, once workers are there, see it settled, and have what died replayed.

        A companion that fails ends it. Raises what `publish` and `settle` raise.
        """
        async with _beside(*companions):
            self._view.phase("participants", "waiting for the workers")
            await self.until_consumed()
            async with _beside(self._watch()):
                await self.publish()
            self._view.phase("deliver", "until everything has come or is given up")
            await self.settle()
            await self.relieve()

    async def until_consumed(self) -> None:
        """Wait until workers have taken up all queues. Raises UnavailableError when they do not."""
        await _until(self._records.consumed, within=READY_WITHIN, what="the workers take up no queues")

    async def publish(self, *, outages: bool = True) -> None:
        """Publish trade date by trade date; on the way, what is to go down does, and comes back.

        ``outages``: watch them too. Raises UnavailableError, InvalidFeedError, and PublishingFailedError.
        """
        stage, dates = self._stage, self._stage.scenario.trade_dates
        sender = Sender.wired(stage.wiring, stage.database, stage.store, stage.publisher, self._count)
        snapshots = islice(feed.read(stage.scenario.report), len(dates))
        for number, (trade_date, snapshot) in enumerate(zip(dates, snapshots, strict=True)):
            over = time.monotonic() + min(DAY, ALL_DAYS / len(dates))
            self._view.day(trade_date)
            await self._take_down(number)
            await sender.publish_day(snapshot if outages else None, stage.scenario.market_events(trade_date))
            await asyncio.sleep(over - time.monotonic())
            await self._bring_back(number)

    async def settle(self) -> None:
        """Wait until everything that is due has come or is given up, nothing waits, and nothing is held.

        Return also when nothing moves any more; the verdict tells what is missing.
        """
        moved, before = time.monotonic(), self._so_far()
        while not await self._settled():
            if self._so_far() != before:
                moved, before = time.monotonic(), self._so_far()
            elif time.monotonic() - moved > PATIENCE:
                missing = len(await self._missing())
                self._view.phase("deliver", f"nothing new for {PATIENCE:.0f} s; {missing} are missing")
                return
            await asyncio.sleep(LOOK_EVERY)

    async def relieve(self) -> None:
        """Have an operator replay what died. Raises UnavailableError."""
        async with _beside(self._watch()):
            await self._operator.relieve()

    async def judge(self, seconds: float) -> Verdict:
        """Judge, once no worker runs any more; it has taken so many ``seconds``."""
        self._view.phase("judge", "by what the receivers themselves wrote down")
        scenario = self._stage.scenario
        return await asyncio.to_thread(
            judge,
            scenario.plan,
            scenario.expectation,
            read_receipts(self._stage.receivers.record),
            published=await self._records.published(),
            endpoints=self._stage.participants,
            letters=map(self._operator.told, await self._records.letters()),
            superseded=await self._records.superseded(),
            held=sorted(await self._records.held()),
            seconds=seconds,
        )

    def _count(self, _type: str) -> None:
        self._published += 1

    async def _take_down(self, number: int) -> None:
        for participant, fault in self._stage.scenario.plan.faults.items():
            if fault.kind == "down" and fault.from_day == number:
                await self._stage.receivers.tell(participant, behaviours=[DOWN])
                self._down[participant] = time.monotonic()

    async def _bring_back(self, number: int) -> None:
        for participant, fault in self._stage.scenario.plan.faults.items():
            if fault.kind == "down" and fault.until_day == number:
                await asyncio.sleep(self._down[participant] + fault.seconds - time.monotonic())
                await self._stage.receivers.tell(participant, behaviours=[])
                del self._down[participant]

    async def _watch(self) -> None:
        while True:
            with suppress(UnavailableError):
                await self._look()
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> set[str]:
        """Look how it goes, and show it; return who is held. Raises UnavailableError."""
        self.sight.look()
        self._superseded = await self._records.count_superseded()
        letters = await self._records.count_letters()
        if letters != self._letters:
            self._letters, self._given_up = letters, self._pairs(await self._records.letters())
        held = await self._records.held()
        received = {participant: len(events) for participant, events in self.sight.received.items()}
        dead = Counter(name for name, event in self._given_up if event not in self.sight.received[name])
        self._view.counts(
            published=self._published, received=received, dead=dead, superseded=self._superseded
        )
        for participant in received:
            down = "down" if participant in self._down else "ok"
            self._view.state(participant, "held" if participant in held else down)
        for participant, evidence in self.sight.faults_seen().items():
            self._view.seen(participant, evidence)
        return held

    def _so_far(self) -> tuple[int, ...]:
        return self.sight.requests, len(self._given_up), self._superseded, self._published

    async def _settled(self) -> bool:
        try:
            held = await self._look()
            return not held and not await self._missing() and await self._records.at_rest()
        except UnavailableError:
            return False

    async def _missing(self) -> set[Pair]:
        due = self._stage.scenario.expectation.due
        missing = {
            (participant, event)
            for participant, events in due.items()
            for event in events - self.sight.received[participant]
        }
        missing -= self._given_up
        if len(missing) > self._superseded:
            return missing  # and no need to ask for the rows
        return missing - self._pairs(await self._records.superseded())

    def _pairs(self, rows: Iterable[Row]) -> set[Pair]:
        return {pair_of(row, self._stage.participants) for row in rows}


async def _until(look: Callable[[], Awaitable[bool]], *, within: float, what: str) -> None:
    deadline = time.monotonic() + within
    while not await look():
        if time.monotonic() > deadline:
            raise UnavailableError(f"{what}, for {within:.0f} s now")
        await asyncio.sleep(LOOK_EVERY)


@asynccontextmanager
async def _beside(*companions: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let these run as long as the context; one that fails ends it with its error."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(companion) for companion in companions]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
