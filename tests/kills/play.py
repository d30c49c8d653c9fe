"""A run of the demo in which real processes are killed, and the demo's own verdict on it."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from rich.console import Console

from claimbus.cli.demo.child import child, work
from claimbus.cli.demo.run import Run
from claimbus.cli.demo.scenario import Scenario
from claimbus.cli.demo.sending import OMS
from claimbus.cli.demo.stage import Stage, settings_of
from claimbus.cli.demo.verdict import Verdict
from claimbus.cli.demo.view import View
from claimbus.cli.settings import Settings
from claimstore.memory import OutageMemory
from tests.waiting import eventually


@dataclass
class Play:
    """A stage, what is played on it, and the processes besides."""

    stage: Stage
    run: Run
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
        """Wait until all is settled, end the workers in order, and judge."""
        await self.run.settle()
        await self.processes.aclose()
        return await self.run.judge(0.0)


@asynccontextmanager
async def playing(
    scenario: Scenario, directory: Path, amqp_url: str, redis_url: str, key_prefix: str
) -> AsyncIterator[Play]:
    """Open a stage in ``directory`` on these servers; all processes end with it."""
    settings = settings_of(scenario.plan, directory, amqp_url=amqp_url, redis_url=redis_url)
    settings["CLAIMBUS_KEY_PREFIX"] = key_prefix
    others = {name: value for name, value in os.environ.items() if not name.startswith("CLAIMBUS_")}
    read = {name.removeprefix("CLAIMBUS_").lower(): value for name, value in settings.items()}
    view = View(Console(file=StringIO()), live=False)
    view.plan(scenario.plan, scenario.expectation)
    async with (
        Stage.open(scenario, Settings.model_validate(read), directory) as stage,
        Run.open(stage, view) as run,
    ):
        play = Play(stage, run, directory, others | settings)
        async with play.processes:
            yield play


def assert_whole(verdict: Verdict, *, ordered: bool = True) -> None:
    """Nothing is lost, leaked or held, everything was published once and, if ``ordered``, came in order.

    Nothing is a dead letter but what its receiver refused: no body is missing.
    """
    assert verdict.lost == ()
    assert verdict.leaked == ()
    assert verdict.held == ()
    assert verdict.disordered == () or not ordered
    assert verdict.published == verdict.due
    assert verdict.causes.keys() <= {"rejected"}
    assert verdict.delivered > 0
