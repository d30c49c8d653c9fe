"""A run of the demo in which real processes are killed, and the demo's own verdict on it."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from rich.console import Console
from sqlalchemy import Connection

from claimbus.cli.demo.child import child, work
from claimbus.cli.demo.records import MOST
from claimbus.cli.demo.run import Run
from claimbus.cli.demo.scenario import Scenario
from claimbus.cli.demo.sending import OMS
from claimbus.cli.demo.stage import Stage, settings_of
from claimbus.cli.demo.verdict import Verdict
from claimbus.cli.demo.view import View
from claimbus.cli.settings import Settings
from claimbus.database import kept, letters
from claimbus.database.letters import EVERYTHING
from claimstore.memory import OutageMemory
from tests.waiting import eventually


@dataclass
class Play:
    """A stage, what is played on it and ``said`` of it, and the processes besides."""

    stage: Stage
    run: Run
    said: StringIO
    directory: Path
    environment: dict[str, str]
    processes: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self, name: str, command: list[str]) -> None:
        """Start a process; should one of this name have been killed, it is its successor."""
        pid_file = self.directory / f"{name}.pid"
        pid_file.unlink(missing_ok=True)
        await self.processes.enter_async_context(child(command, self.directory, name, self.environment))
        await eventually(lambda: pid_file.exists() and pid_file.read_text())

    async def start_worker(self, name: str) -> None:
        await self.start(name, work())

    def kill(self, name: str) -> None:
        """End a process as the kernel would when memory runs out."""
        os.kill(int((self.directory / f"{name}.pid").read_text()), signal.SIGKILL)

    async def requests(self, count: int) -> None:
        """Wait until the receivers have had so many requests."""

        def seen() -> bool:
            self.run.sight.look()
            return self.run.sight.requests >= count

        await eventually(seen, within=30)

    async def publishing(self, changes: int) -> None:
        """Wait until a snapshot is being published: so many of its changes are, and others wait for it."""
        most = 0

        async def waiting() -> bool:
            nonlocal most
            found = await self._pending()
            most = max(most, found)
            return 0 < found <= most - changes

        await eventually(waiting, within=30, every=0)

    async def _pending(self) -> int:
        connection = self.stage.store.connection
        found: int = await connection.ask("HLEN", OutageMemory(connection, OMS)._pending)
        return found

    async def verdict(self) -> Verdict:
        """End the workers in order, and judge."""
        await self.processes.aclose()
        return await self.run.judge(0.0)

    async def assert_whole(self) -> None:
        """Wait until all is settled, and judge.

        Nothing is lost, leaked or held, everything was published once and came in order.
        Nothing is a dead letter but what its receiver refused, and the database has the body of each.
        """
        await self.run.settle()
        verdict = await self.verdict()
        assert verdict.lost == ()
        assert verdict.leaked == ()
        assert verdict.held == ()
        assert verdict.disordered == ()
        assert verdict.published == verdict.due
        assert verdict.causes.keys() == {"rejected"}
        assert verdict.delivered > 0
        assert await self._without_body() == []

    async def _without_body(self) -> list[str]:
        """Return the IDs of the dead letters whose claims are not kept."""

        def look(sql: Connection) -> list[str]:
            found = letters.find(sql, EVERYTHING, limit=MOST).rows
            there = kept.has(sql, {one.claim_id for one in found if one.claim_id is not None})
            return [one.id for one in found if one.claim_id not in there]

        return await self.stage.database.read(look)


@asynccontextmanager
async def playing(
    scenario: Scenario, directory: Path, amqp_url: str, redis_url: str, key_prefix: str
) -> AsyncIterator[Play]:
    """Open a stage in ``directory`` on these servers; all processes end with it."""
    settings = settings_of(scenario.plan, directory, amqp_url=amqp_url, redis_url=redis_url)
    settings["CLAIMBUS_KEY_PREFIX"] = key_prefix
    others = {name: value for name, value in os.environ.items() if not name.startswith("CLAIMBUS_")}
    read = {name.removeprefix("CLAIMBUS_").lower(): value for name, value in settings.items()}
    said = StringIO()
    view = View(Console(file=said), live=False)
    view.plan(scenario.plan, scenario.expectation)
    async with (
        Stage.open(scenario, Settings.model_validate(read), directory) as stage,
        Run.open(stage, view) as run,
    ):
        play = Play(stage, run, said, directory, others | settings)
        async with play.processes:
            yield play
