"""The demo from its first process to its verdict."""

import sys
import time
from asyncio.subprocess import Process
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from claimbus.cli.demo.child import child, last_words
from claimbus.cli.demo.performance import Performance
from claimbus.cli.demo.scenario import Scenario
from claimbus.cli.demo.stage import Stage
from claimbus.cli.demo.verdict import Verdict
from claimbus.cli.demo.view import View
from claimbus.cli.settings import Settings
from claimbus.events.errors import UnavailableError

WORKERS: Final = 2
WORKER: Final = "worker"
"""The name of their log."""


def work(processes: int = 1) -> list[str]:
    """Return the command that runs workers."""
    return [sys.executable, "-m", "claimbus", "work", "--processes", str(processes)]


async def run(
    scenario: Scenario, settings: Settings, environment: Mapping[str, str], directory: Path, view: View
) -> Verdict:
    """Play a scenario on the servers of ``settings``, which ``environment`` gives to the workers too.

    Everything that is written is in ``directory``. Raises UnavailableError, ConfigurationError,
    InvalidFeedError, and PublishingFailedError.
    """
    began = time.monotonic()
    view.phase("participants", f"{len(scenario.participants)}, with their endpoints and receivers")
    view.plan(scenario.plan, scenario.expectation)
    async with (
        Stage.open(scenario, settings, directory) as stage,
        Performance.open(stage, view) as performance,
    ):
        async with child(work(WORKERS), directory, WORKER, environment) as worker:
            await performance.play(_mind(worker, directory))
        return await performance.judge(time.monotonic() - began)


async def _mind(worker: Process, directory: Path) -> None:
    await worker.wait()
    raise UnavailableError(f"the workers ended. {last_words(directory, WORKER)}")
