"""Receivers in a process of their own, and what they are told from here."""

import json
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from claimbus.cli.demo.child import child, last_words
from claimbus.cli.demo.receivers.behaviour import Behaviour
from claimbus.events.errors import UnavailableError


class RemoteReceivers:
    """``urls`` by name; ``ca_pem`` is whom to trust when connecting, ``record`` what they write."""

    def __init__(self, process: Process, directory: Path, ready: Mapping[str, Any]) -> None:
        self.urls = {name: told["url"] for name, told in ready["receivers"].items()}
        self.ca_pem = Path(ready["ca"]).read_text()
        self.record = Path(ready["record"])
        self._process = process
        self._directory = directory

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: Path, behaviours: Mapping[str, Sequence[Behaviour]]
    ) -> AsyncIterator["RemoteReceivers"]:
        """Run a receiver for each name. Raises UnavailableError when they do not start."""
        wishes = [
            {"name": name, "behaviours": [one.model_dump(mode="json") for one in several]}
            for name, several in behaviours.items()
        ]
        specification = directory / "receivers.json"
        specification.write_text(json.dumps({"directory": str(directory), "receivers": wishes}))
        command = [sys.executable, "-m", "claimbus.cli.demo.receivers", str(specification)]
        async with child(command, directory, "receivers", os.environ, piped=True) as process:
            yield cls(process, directory, await _answer(process, directory))

    async def tell(
        self,
        name: str,
        *,
        behaviours: Sequence[Behaviour] | None = None,
        secrets: Sequence[str] | None = None,
    ) -> None:
        """Change a receiver; it is changed when this returns. Raises UnavailableError."""
        wish: dict[str, object] = {"name": name}
        if behaviours is not None:
            wish["behaviours"] = [one.model_dump(mode="json") for one in behaviours]
        if secrets is not None:
            wish["secrets"] = list(secrets)
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(json.dumps(wish).encode() + b"\n")
        await _answer(self._process, self._directory)


async def _answer(process: Process, directory: Path) -> dict[str, Any]:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    line = await process.stdout.readline()
    if not line:
        raise UnavailableError(f"the receivers ended. {last_words(directory, 'receivers')}")
    answer: dict[str, Any] = json.loads(line)
    return answer
