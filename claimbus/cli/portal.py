"""``claimbus portal``: claims, streams and events over HTTPS."""

import asyncio
import gc
import os

import structlog

from claimbus.cli.expiry_watch import ExpiryWatch
from claimbus.cli.logs import configure_logs
from claimbus.cli.running import run, stopped_by_signals
from claimbus.cli.settings import Settings, load
from claimbus.cli.wiring import Wiring
from claimbus.cli.wiring.portal import portal_services
from claimbus.portal.serve import serve
from claimbus.portal.services import Services

_log = structlog.get_logger("claimbus.cli.portal")


def portal() -> None:
    """Serve the API, streams and web pages until stopped.

    SIGTERM or Ctrl-C finish what is under way. Any number of portals may stand behind one address; who may
    use them is kept with 'claimbus access'.
    """
    settings = load()
    configure_logs(settings.log_level, settings.log_format)
    run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = stopped_by_signals()
    async with Wiring(settings) as wiring:
        services = await portal_services(wiring)
        watching = asyncio.create_task(_watch(settings, services).run())
        try:
            await serve(
                services,
                listen=settings.portal_listen,
                certificate_file=settings.portal_certificate_file,
                key_file=settings.portal_key_file,
                stop=stop,
                ready=_ready,
                grace=settings.grace,
            )
        finally:
            watching.cancel()
    _log.info("portal stopped", pid=os.getpid())


def _watch(settings: Settings, services: Services) -> ExpiryWatch:
    producer = services.producer("system")
    return ExpiryWatch(settings, services.database, services.trust, producer, services.registry)


def _ready(url: str) -> None:
    # All that was loaded stays: looking for garbage in it again and again took a quarter of a request's time.
    gc.freeze()
    _log.info("portal ready", url=url, pid=os.getpid())
