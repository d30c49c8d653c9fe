"""``claimbus work``: consumer workers, one process or several. ``deadletters attend``: what else they do."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer
from prometheus_client import CollectorRegistry, start_http_server

from claimbus.cli.logs import configure_logs
from claimbus.cli.running import run, stopped_by_signals
from claimbus.cli.services.guard import guarded
from claimbus.cli.settings import Settings, load
from claimbus.cli.wiring import Wiring
from claimbus.cli.wiring.attendant import open_attendant
from claimbus.cli.wiring.mail import open_contacts
from claimbus.cli.wiring.worker import open_worker
from claimbus.deadletters.attendant import Attendant
from claimbus.events.errors import ConfigurationError
from claimstore.presence import LIFE
from consumers.metrics import Metrics

NUMBER: Final = "CLAIMBUS_WORKER_NUMBER"
RESTART_AFTER: Final = 1.0
"""Seconds until a worker process that died is started again."""

OFTEN: Final = 60.0
"""Seconds within which one that dies a second time is started no sooner than the others have forgotten it.

Until then they leave it its share of the endpoints; one that dies again and again would keep that from all.
"""

_log = structlog.get_logger("claimbus.cli.work")


def work(
    processes: Annotated[int, typer.Option(min=1, help="Worker processes; each takes a core.")] = 1,
) -> None:
    """Deliver to the participants' endpoints until stopped; record dead letters and run replays beside it.

    SIGTERM or Ctrl-C finish what is in flight and hand the rest back to RabbitMQ.
    """
    settings = load()
    configure_logs(settings.log_level, settings.log_format)
    if processes == 1:
        run_worker(settings)
    else:
        raise typer.Exit(supervise(processes))


def attend() -> None:
    """Record dead letters and run replays until stopped, delivering nothing else.

    'claimbus work' does this too, unless CLAIMBUS_WORK_DEADLETTERS is false.
    """
    settings = load()
    configure_logs(settings.log_level, settings.log_format)
    run(_attend(settings))


def run_worker(settings: Settings) -> None:
    """Run one worker in this process until a signal ends it."""
    run(_work(settings))


async def _work(settings: Settings) -> None:
    metrics = Metrics()
    _serve_metrics(settings, metrics.registry)
    stop = stopped_by_signals()
    async with Wiring(settings) as wiring:
        worker = await open_worker(wiring, metrics)
        attendant = await open_attendant(wiring, metrics.registry) if settings.work_deadletters else None
        contacts = open_contacts(wiring, metrics.registry)
        if contacts is None:
            _log.info("contacts are not told by mail", reason="CLAIMBUS_MAIL_URL is not set")
        beside = asyncio.create_task(_attend_beside(attendant, stop)) if attendant else None
        telling = asyncio.create_task(contacts.run()) if contacts else None
        try:
            await worker.run(stop, ready=lambda: _log.info("worker ready", pid=os.getpid()))
        finally:
            stop.set()
            if beside:
                await beside
            if telling:
                telling.cancel()
                await asyncio.wait([telling])
    _log.info("worker stopped", pid=os.getpid())


async def _attend(settings: Settings) -> None:
    registry = CollectorRegistry()
    _serve_metrics(settings, registry)
    stop = stopped_by_signals()
    async with Wiring(settings) as wiring:
        attendant = await open_attendant(wiring, registry)
        _log.info("attendant ready", pid=os.getpid())
        await attendant.run(stop)
    _log.info("attendant stopped", pid=os.getpid())


async def _attend_beside(attendant: Attendant, stop: asyncio.Event) -> None:
    """Attend to dead letters; a failure of that is no reason to deliver no more."""
    try:
        await attendant.run(stop)
    except Exception:  # noqa: BLE001 - whatever it is
        _log.exception("attendant failed", next="deliver, but record and replay no dead letters")


def _serve_metrics(settings: Settings, registry: CollectorRegistry) -> None:
    if not settings.metrics_listen:
        return
    host, _, port = settings.metrics_listen.rpartition(":")
    try:
        number = int(port) + int(os.environ.get(NUMBER, "0"))
        start_http_server(number, addr=host or "127.0.0.1", registry=registry)
    except (ValueError, OSError, OverflowError) as wrong:
        raise ConfigurationError("CLAIMBUS_METRICS_LISTEN", f"{settings.metrics_listen}: {wrong}") from wrong


def supervise(processes: int) -> int:
    """Run so many worker processes, starting anew one that dies; return 1 if any failed at the end."""
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with tempfile.TemporaryDirectory() as directory:
        workers = [_start(number, Path(directory)) for number in range(processes)]
        died: dict[int, float] = {}
        due: dict[int, float] = {}
        while not stopping:
            time.sleep(0.2)
            now = time.monotonic()
            for number, worker in enumerate(workers):
                if worker.poll() is None:
                    continue
                if number not in due:
                    often = now - died.get(number, now - OFTEN) < OFTEN
                    pause = LIFE.total_seconds() if often else RESTART_AFTER
                    died[number], due[number] = now, now + pause
                    next_ = f"start it anew in {pause:.0f} s"
                    _log.error("worker died", number=number, code=worker.returncode, next=next_)
                elif now >= due[number]:
                    del due[number]
                    workers[number] = _start(number, Path(directory))
        for worker in workers:
            worker.terminate()
        codes = [worker.wait() for worker in workers]
    return int(any(codes))


def _start(number: int, directory: Path) -> "subprocess.Popen[bytes]":
    # Guarded, so none outlives the supervisor; a session of its own, so Ctrl-C reaches the supervisor alone.
    command = guarded([sys.executable, "-m", "claimbus", "work"], directory / f"{number}.pid")
    environment = {**os.environ, NUMBER: str(number)}
    return subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603 - our own command
