"""A stream whose portal and subscriber are killed every second: each event lands in the directory, once."""

import asyncio
import itertools
import json
import os
import random
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from claimbus.cli.services.server import free_ports
from claimbus.cli.settings import Settings
from tests.portal.portals import identity
from tests.portal.streams import Stage, open_stage, stream_settings

__all__ = ["stream_settings"]

EVENTS = 1000
"""With 10,000 it takes more than a minute and was run by hand."""

WAVES = 10
"""The events come in so many parts, one before each of the first kills."""

EVERY = 1.0
"""Seconds between two kills."""

SEED = 20261122


@pytest.fixture
async def stage(stream_settings: Settings, tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(stream_settings, tmp_path) as stage:
        stage.participant("PGAE")
        yield stage


async def start(*words: str, environment: dict[str, str] | None = None) -> Process:
    """Start a command of ours."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("CLAIMBUS_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "claimbus", *words),
        env=known | (environment or {}),
        stdout=DEVNULL,
        stderr=PIPE,
    )


@asynccontextmanager
async def kept_alive(*words: str, environment: dict[str, str] | None = None) -> AsyncIterator[list[Process]]:
    """Run a command, and start it anew whenever it is killed; the list's last is the one that runs.

    One that ends by itself fails the test.
    """
    lives: list[Process] = []

    async def live() -> None:
        while True:
            process = await start(*words, environment=environment)
            lives.append(process)
            _, said = await process.communicate()
            assert process.returncode == -9, said.decode()

    async with asyncio.TaskGroup() as group:
        living = group.create_task(live())
        try:
            yield lives
        finally:
            living.cancel()
            for process in lives:
                if process.returncode is None:
                    process.kill()


def taken(directory: Path) -> list[str]:
    """Take away what lies in the directory, as a consumer does; the identities of the events."""
    found = []
    for sidecar in directory.glob("evt_*.event"):
        (directory / json.loads(sidecar.read_bytes())["body"]).unlink()
        sidecar.unlink()
        found.append(sidecar.stem)
    return found


@pytest.mark.timeout(600)
async def test_each_event_lands_once_whatever_is_killed(stage: Stage, tmp_path: Path) -> None:
    endpoint = await stage.endpoint("PGAE")
    certificate, authority, folder = tmp_path / "client.pem", tmp_path / "ca.pem", tmp_path / "in"
    certificate.write_bytes(identity(stage.clients_ca, "PGAE"))
    stage.portal.ca.cert_pem.write_to_path(authority)
    (port,) = free_ports(1)
    told = stage.settings.model_dump(
        include={"environment", "amqp_url", "redis_url", "key_prefix", "database_url", "retry_ladder"}
    ) | {
        "portal_listen": f"127.0.0.1:{port}",
        "portal_certificate_file": tmp_path / "portal.pem",
    }
    portal = {f"CLAIMBUS_{name.upper()}": str(value) for name, value in told.items()}
    subscriber = ["--url", f"wss://127.0.0.1:{port}", "--endpoint", endpoint.id, "--dir", str(folder)]
    subscriber += ["--cert", str(certificate), "--ca", str(authority), "--prefetch", "64"]
    chance, sent, landed = random.Random(SEED), list[str](), list[str]()
    async with AsyncExitStack() as running:
        victims = [
            await running.enter_async_context(kept_alive("portal", environment=portal)),
            await running.enter_async_context(kept_alive("subscribe", *subscriber)),
        ]
        for number in itertools.count(1):
            if number <= WAVES:
                sent += await stage.publish("PGAE", count=EVENTS // WAVES)
            await asyncio.sleep(EVERY)
            landed += taken(folder)
            if len(landed) >= EVENTS:
                break
            lives = chance.choice(victims) if number % 4 else []  # now and then it gets somewhere
            if lives and lives[-1].returncode is None:
                lives[-1].kill()
        killed = sum(len(lives) - 1 for lives in victims)
    landed += taken(folder)
    assert sorted(landed) == sorted(sent)
    assert killed > 3
