"""What a house stands on: its settings, vhost and database, who takes part, and what they asked for."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import Connection

from claimbus.cli.demo.receivers import Behaviour
from claimbus.cli.demo.vhost import own_vhost
from claimbus.cli.services import PostgresServer, private_directory
from claimbus.cli.settings import Settings
from claimbus.cli.wiring import Wiring
from claimbus.database import endpoints, participants
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.events.errors import UnavailableError
from consumers.provision import Provision
from tests.chaos.disk import small_disk
from tests.chaos.fault import Fault, NotRunError
from tests.chaos.judge import Place
from tests.chaos.servers import Servers

ROOT = Path(__file__).parents[2]
ACT = Act("chaos")

OUTAGES, MARKETS, NOTICES = "oms.#", "market.#", "system.notice.#"
STREAM, VICTIM, REFUSER = "COAST", "WEST", "VALLEY"
"""Who has a stream; whose receiver is made to misbehave; who refuses notices, which makes dead letters."""

PLACES = (
    Place(participant="NORTH", patterns=(OUTAGES, MARKETS, NOTICES)),
    Place(participant="SOUTH", patterns=(OUTAGES,), ordered=True),
    Place(participant="EAST", patterns=(OUTAGES,), latest_only=True),
    Place(participant=VICTIM, patterns=(OUTAGES, MARKETS)),
    Place(participant=REFUSER, patterns=(MARKETS, NOTICES)),
)
COAST = Place(participant=STREAM, patterns=(OUTAGES, MARKETS, NOTICES))
MOVED = f"{VICTIM}-2"
"""The other address of the one that moves."""

REFUSES = Behaviour(kind="status", status=422, types=("system.notice.*",))
SETTINGS = {
    "environment": "chaos",
    "retry_ladder": "500ms,1s,2s,4s,8s,16s",
    "hold_pause": "300ms",
    "hold_pause_longest": "1s",
    "confirm_timeout": "5s",
    "database_timeout": "2s",
    "reconcile_every": "2s",
    "watch_every": "1s",
    "webhook_networks": "127.0.0.0/8",
    "webhook_ports": "1-65535",
    "webhook_connect_timeout": "2s",
    "work_deadletters": "false",
    "grace": "5s",
    "log_format": "json",
}


def environment_of(
    servers: Servers, directory: Path, fault: Fault, vhost: str, database_url: str
) -> dict[str, str]:
    """The environment of all processes of a house."""
    chosen = SETTINGS | {
        "amqp_url": servers.vhost_url(vhost),
        "redis_url": servers.redis_url,
        "key_prefix": f"{vhost}:",
        "database_url": database_url,
        **dict(fault.settings),
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("CLAIMBUS_")}
    ours = {f"CLAIMBUS_{name.upper()}": value for name, value in chosen.items()}
    return others | ours | {"PYTHONPATH": str(ROOT)} | (_faked(directory) if fault.faked_clock else {})


def faketime() -> Path | None:
    """Find libfaketime, of Debian's package, on this machine."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def _faked(directory: Path) -> dict[str, str]:
    """What makes the clock of a process follow the file ``clock``. Raises NotRunError without libfaketime."""
    library = faketime()
    if library is None:
        raise NotRunError("libfaketime is not installed: apt-get install faketime")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(directory / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def settings_of(environment: Mapping[str, str]) -> Settings:
    read = {
        name.removeprefix("CLAIMBUS_").lower(): value
        for name, value in environment.items()
        if name.startswith("CLAIMBUS_")
    }
    return Settings.model_validate(read)


def database_of(stack: AsyncExitStack, directory: Path, fault: Fault) -> tuple[str, PostgresServer | None]:
    """The URL of an empty database of the kind that the fault wants; and its server, if it has one."""
    if fault.database == "postgresql":
        # Not below the directory, which may be in a place that PostgreSQL's user cannot enter.
        place = stack.enter_context(private_directory(Path(tempfile.gettempdir())))
        postgres = stack.enter_context(PostgresServer(place))
        return postgres.url.replace("postgresql://", "postgresql+psycopg://"), postgres
    if fault.disk:
        stack.enter_context(small_disk(directory / "disk", fault.disk))
        return f"sqlite:///{directory / 'disk' / 'claimbus.db'}", None
    return f"sqlite:///{directory / 'claimbus.db'}", None


@asynccontextmanager
async def own_vhost_of(servers: Servers, name: str) -> AsyncIterator[None]:
    """A vhost while it lasts; one that its server does not let go of stays behind with the server."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(own_vhost(servers.management_url, servers.amqp_url, name))
        going = stack.pop_all()
    try:
        yield
    finally:
        with suppress(UnavailableError):
            await going.aclose()


def through(servers: Servers, link_name: str, url: str) -> str:
    """The URL by which a client reaches a server: past the link of this name, if there is one."""
    link = servers.links.get(link_name)
    if link is None:
        return url
    parts = urlsplit(url)
    link.to = ("127.0.0.1", parts.port or 0)
    return urlunsplit(parts._replace(netloc=f"127.0.0.1:{link.port}"))


async def furnish(
    settings: Settings, places: Sequence[Place], urls: Mapping[str, str], ca_pem: str
) -> dict[str, Endpoint]:
    """Add the participants with their endpoints, and give these their queues."""

    def add(sql: Connection, place: Place) -> Endpoint:
        name = place.participant
        participants.add(sql, name, f"{name} Power", ACT)
        if name == STREAM:
            return endpoints.add(sql, name, ACT, kind="stream", name="stream", subscriptions=place.patterns)
        return endpoints.add(
            sql,
            name,
            ACT,
            name="webhook",
            subscriptions=place.patterns,
            verified=True,
            url=urls[name],
            ca_pem=ca_pem,
            ordered=place.ordered,
            latest_only=place.latest_only,
            timeout_s=2.0,
        )

    async with Wiring(settings) as wiring:
        database = wiring.database()
        added = await database.run(lambda sql: {place.participant: add(sql, place) for place in places})
        await wiring.publisher("chaos")  # which declares the topology
        provision = Provision(database, await wiring.connection("chaos"))
        await asyncio.gather(*(provision.give(endpoint.id) for endpoint in added.values()))
        return added
