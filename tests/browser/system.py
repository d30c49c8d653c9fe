"""The whole system as it runs for users: a portal and a worker as processes, receivers besides."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from claimbus.broker.publisher import Publisher
from claimbus.cli.demo.authority import Authority
from claimbus.cli.demo.child import child, last_words, work
from claimbus.cli.demo.receivers import Receivers
from claimbus.cli.ports import PortRange
from claimbus.cli.settings import Settings
from claimbus.cli.wiring import Wiring
from claimbus.database import tokens
from claimbus.database.access import Grant, Role
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.events.event import ALL, Audience
from claimbus.events.markets import market_event
from claimstore.store import ClaimStore
from consumers.provision import Provision
from producers.producer import Producer
from tests.waiting import eventually

ACT: Final = Act("tests")
READY_WITHIN: Final = 60.0
PORTAL: Final = [sys.executable, "-m", "claimbus", "portal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A running system, and what a test works it with; ``url`` is the portal's."""

    url: str
    settings: Settings
    database: Database
    store: ClaimStore
    producer: Producer
    publisher: Publisher
    provision: Provision
    receivers: Receivers

    def token(
        self,
        name: str,
        *roles: Role,
        participant: str | None = None,
        organisation: str | None = None,
    ) -> str:
        """Add a token for somebody."""
        grant = Grant(frozenset(roles), participant, organisation)
        with self.database.transaction() as sql:
            ends = datetime.now(UTC) + timedelta(days=90)
            return tokens.add(sql, name, grant, Act("tests"), expires_at=ends)[1]

    async def provide(self, endpoint: Endpoint) -> None:
        """Give an endpoint its queue, and tell the worker."""
        await self.provision.give(endpoint.id)
        await self.publisher.announce(endpoint.id, "changed")

    async def close_market(self, day: int = 1, *, audience: Audience = ALL) -> str:
        """Tell that a day-ahead market has closed; returns its message ID."""
        event = market_event(
            "dam",
            "closed",
            source=self.settings.source("market"),
            trade_date=date(2026, 1, 1) + timedelta(days=day),
            at=datetime.now(UTC),
            audience=audience,
        )
        await self.producer.publish(event)
        return event.identity


@asynccontextmanager
async def running(
    directory: Path, *, amqp_url: str, redis_url: str, key_prefix: str, environment: str = "map-stage"
) -> AsyncIterator[System]:
    """A system on these servers, its database and logs in ``directory``; it ends with the block."""
    authority = Authority(directory)
    settings = Settings(
        environment=environment,
        amqp_url=amqp_url,
        redis_url=redis_url,
        key_prefix=key_prefix,
        database_url=f"sqlite:///{directory / 'claimbus.db'}",
        webhook_networks=(ip_network("127.0.0.0/8"),),
        webhook_ports=(PortRange(1, 65535),),
        webhook_ca_file=authority.ca,
        portal_listen="127.0.0.1:0",
        portal_certificate_file=authority.server("portal", "127.0.0.1", "localhost"),
        retry_ladder="1s",
        log_format="json",
    )
    async with Wiring(settings) as wiring, Receivers.open(directory, authority=authority) as receivers:
        database, store = wiring.database(), await wiring.store()
        publisher = await wiring.publisher("tests")
        provision = Provision(database, await wiring.connection("tests"))
        variables = _variables(settings)
        async with (
            child(work(), directory, "worker", variables),
            child(PORTAL, directory, "portal", variables),
        ):
            await _said(directory, "worker", "worker ready")
            ready = await _said(directory, "portal", "portal ready")
            yield System(
                url=ready["url"],
                settings=settings,
                database=database,
                store=store,
                producer=wiring.producer(store, publisher, "market", database=database),
                publisher=publisher,
                provision=provision,
                receivers=receivers,
            )


def _variables(settings: Settings) -> dict[str, str]:
    """The environment in which a process finds these settings."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("CLAIMBUS_")}
    chosen = settings.model_dump(include=settings.model_fields_set)
    chosen |= {"webhook_networks": "127.0.0.0/8", "webhook_ports": "1-65535"}
    return others | {f"CLAIMBUS_{name.upper()}": str(value) for name, value in chosen.items()}


async def _said(directory: Path, name: str, event: str) -> Any:  # noqa: ANN401 - what it logged
    log = directory / f"{name}.log"

    def look() -> object:
        lines = (line for line in log.read_text().splitlines() if f'"{event}"' in line)
        return next((json.loads(line) for line in lines), None)

    try:
        return await eventually(look, within=READY_WITHIN)
    except AssertionError:
        raise AssertionError(last_words(directory, name)) from None
