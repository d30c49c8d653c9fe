"""Typing commands: in this process, or as processes of their own."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from typer.testing import CliRunner

from claimbus.broker.topology import endpoint_queue
from claimbus.cli.commands import app
from claimbus.cli.demo.receivers import Receiver
from tests.services import management


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401
        return json.loads(self.out)


class Terminal:
    """Types commands with settings of its own, in a directory of its own."""

    def __init__(self, settings: Mapping[str, str], directory: Path) -> None:
        self.settings = dict(settings)
        self.directory = directory

    def but(self, **settings: str) -> "Terminal":
        """A terminal with other settings, given without ``CLAIMBUS_`` and in lower case."""
        others = {f"CLAIMBUS_{name.upper()}": value for name, value in settings.items()}
        return Terminal(self.settings | others, self.directory)

    def __call__(self, *words: object, code: int = 0, stdin: bytes | None = None) -> Answer:
        """Run a command in this process, to its end.

        In a thread of its own, since it has an event loop of its own, and the test may have one too.
        """
        level = logging.getLogger().level
        typed, environment = [str(word) for word in words], self._environment()
        try:
            with ThreadPoolExecutor(1) as thread:
                result = thread.submit(CliRunner().invoke, app, typed, stdin, environment).result()
        finally:
            logging.getLogger().setLevel(level)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return Answer(result.exit_code, result.stdout, result.stderr)

    @contextmanager
    def started(self, *words: object) -> Iterator["Popen[str]"]:
        """Start a command as a process of its own, and see to it that it ends."""
        with Popen(
            [sys.executable, "-W", "error", "-m", "claimbus", *map(str, words)],
            cwd=self.directory,
            env=self._environment(),
            stdout=PIPE,
            stderr=PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    async def beside(self, *words: object, code: int = 0) -> Answer:
        """Run a command while the test's own event loop goes on, with the receivers in it."""
        return await asyncio.to_thread(self, *words, code=code)

    async def subscribed(self, receiver: Receiver) -> str:
        """Add PGAE and an endpoint with this receiver behind it, for market events; return its ID."""
        trusted = self.directory / "ca.pem"
        await asyncio.to_thread(trusted.write_bytes, receiver.ca_pem)
        self("participants", "add", "PGAE", "--organisation", "Pacific")
        words = (
            "PGAE",
            "--name",
            "main",
            "--url",
            receiver.url,
            "--subscribe",
            "market.#",
            "--timeout",
            "5s",
        )
        added = (await self.beside("endpoints", "add", *words, "--ca-file", trusted, "--json")).json
        receiver.secrets = (added["secret"],)
        return str(added["id"])

    def bindings(self, endpoint_id: str, *, generation: int = 1) -> set[tuple[str, str]]:
        """What RabbitMQ has bound an endpoint's queue to: exchanges and keys."""
        vhost = self.settings["CLAIMBUS_AMQP_URL"].rpartition("/")[2]
        path = f"/queues/{vhost}/{endpoint_queue(endpoint_id, generation)}/bindings"
        found: Any = management("GET", path)
        return {(one["source"], one["routing_key"]) for one in found if one["source"]}

    def _environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("CLAIMBUS_")}
        return {**others, "TERMINAL_WIDTH": "100", "NO_COLOR": "1", **self.settings}
