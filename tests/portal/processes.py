"""``claimbus portal`` as a process of its own, as it runs for users."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from claimbus.cli.settings import Settings

SAME = (
    "environment",
    "amqp_url",
    "redis_url",
    "key_prefix",
    "database_url",
    "retry_ladder",
    "replay_rate",
    "portal_listen",
)


@dataclass
class PortalProcess:
    """A running portal; ``log`` is what it has logged so far."""

    process: Process
    url: str
    log: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def terminate(self) -> None:
        """Tell it to stop, as a service manager does."""
        self.process.send_signal(signal.SIGTERM)

    def memory(self) -> int:
        """The bytes that it held in memory at its peak."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        return int(peak) * 1024


@asynccontextmanager
async def portal_process(settings: Settings, certificate_file: Path) -> AsyncIterator[PortalProcess]:
    """A portal with these settings until the end of the block, which it need not live to see."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("CLAIMBUS_")}
    chosen = {f"CLAIMBUS_{name.upper()}": str(getattr(settings, name)) for name in SAME}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "claimbus", "portal"),
        env=others
        | chosen
        | {"CLAIMBUS_PORTAL_CERTIFICATE_FILE": str(certificate_file), "CLAIMBUS_LOG_FORMAT": "json"},
        stderr=PIPE,
        limit=1 << 20,
    )
    assert process.stderr is not None
    log: list[str] = []
    reading: asyncio.Task[None] | None = None
    try:
        async for line in process.stderr:
            log.append(line.decode())
            if '"portal ready"' in log[-1]:
                break
        else:
            raise AssertionError("".join(log))
        portal = PortalProcess(process, json.loads(log[-1])["url"], log)
        reading = asyncio.create_task(_read(process.stderr, log))
        yield portal
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if reading is not None:
            await reading


async def _read(stream: asyncio.StreamReader, log: list[str]) -> None:
    log.extend([line.decode() async for line in stream])
