"""A bus for one scenario: who takes part, their endpoints and queues, their receivers. No worker yet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from claimbus.broker.connection import Connection
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import DEADLETTERS, message_counts
from claimbus.cli.demo.expectation import write_owners
from claimbus.cli.demo.plan import Fault, Plan
from claimbus.cli.demo.receivers import Behaviour
from claimbus.cli.demo.receivers.remote import RemoteReceivers
from claimbus.cli.demo.scenario import Scenario
from claimbus.cli.durations import show_duration
from claimbus.cli.settings import Settings
from claimbus.cli.wiring import Wiring
from claimbus.cli.wiring.webhook import webhooks
from claimbus.database import endpoints, importing, participants
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.events.errors import ConfigurationError, InvalidFeedError, UnavailableError
from claimstore.store import ClaimStore
from consumers.provision import Provision
from consumers.verification import Verification, verify

ACT: Final = Act("demo")
AT_ONCE: Final = 16
"""Endpoints that are given their queues side by side."""

KEYS: Final = 1000
"""Keys of Redis that are looked at in one round trip."""

DOWN: Final = Behaviour(kind="down")


def settings_of(plan: Plan, directory: Path, *, amqp_url: str, redis_url: str) -> dict[str, str]:
    """Return the environment variables of the demo and its workers: short pauses, all else as it comes."""
    return {
        "CLAIMBUS_ENVIRONMENT": "demo",
        "CLAIMBUS_AMQP_URL": amqp_url,
        "CLAIMBUS_REDIS_URL": redis_url,
        "CLAIMBUS_KEY_PREFIX": f"{directory.name}:",
        "CLAIMBUS_DATABASE_URL": f"sqlite:///{directory / 'claimbus.db'}",
        "CLAIMBUS_RETRY_LADDER": ",".join(map(show_duration, plan.ladder)),
        "CLAIMBUS_HOLD_PAUSE": show_duration(plan.probes[0]),
        "CLAIMBUS_HOLD_PAUSE_LONGEST": show_duration(plan.probes[-1]),
        "CLAIMBUS_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "CLAIMBUS_WEBHOOK_PORTS": "1-65535",
        "CLAIMBUS_MAIL_URL": (directory / "mails").as_uri(),
        "CLAIMBUS_MAIL_FROM": "Event bus <bus@iso.example>",
        "CLAIMBUS_MAIL_GATHER": "2s",
        "CLAIMBUS_GRACE": "5s",
        "CLAIMBUS_LOG_FORMAT": "json",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is open. ``endpoints`` by ID; each participant has one. Nothing was published before ``began``."""

    scenario: Scenario
    began: datetime
    wiring: Wiring
    database: Database
    store: ClaimStore
    publisher: Publisher
    connection: Connection
    receivers: RemoteReceivers
    endpoints: dict[str, Endpoint]

    @classmethod
    @asynccontextmanager
    async def open(
        cls, scenario: Scenario, settings: Settings, directory: Path, *, own_vhost: bool = True
    ) -> AsyncIterator["Stage"]:
        """Set it up in an empty database.

        At the end what it put into Redis goes and, unless it has a vhost of its own to go with, its queues
        go too. Raises UnavailableError, InvalidFeedError, and ConfigurationError, also for a vhost that is
        not its own and in which somebody's dead letters are: its workers would take them.
        """
        behaviours = {one.id: _behaviours(one.fault) for one in scenario.plan.participants}
        async with Wiring(settings) as wiring, RemoteReceivers.open(directory, behaviours) as receivers:
            database = wiring.database()
            await _import(database, scenario, directory / "owners.csv", ZoneInfo(settings.feed_timezone))
            added = await _add_endpoints(database, scenario, receivers)
            found = await _verified(settings, database, added)
            stage = cls(
                scenario=scenario,
                began=datetime.now(UTC),
                wiring=wiring,
                database=database,
                store=await wiring.store(),
                publisher=await wiring.publisher("demo: publishes"),
                connection=await wiring.connection("demo: looks"),
                receivers=receivers,
                endpoints={endpoint.id: endpoint for endpoint in found},
            )
            if not own_vhost:
                await stage._leave_others_alone()
            try:
                await stage._provide()
                yield stage
            finally:
                with suppress(UnavailableError):
                    await stage._forget()
                    if not own_vhost:
                        await stage._remove_queues()

    @property
    def participants(self) -> dict[str, str]:
        """Whose each endpoint is, by their IDs."""
        return {endpoint.id: endpoint.participant_id for endpoint in self.endpoints.values()}

    async def _leave_others_alone(self) -> None:
        found = (await message_counts(self.connection, [DEADLETTERS]))[DEADLETTERS]
        if found is not None and (found.messages or found.consumers):
            raise ConfigurationError(
                "CLAIMBUS_AMQP_URL", "names a vhost with dead letters of somebody else's; take an empty one"
            )

    async def _provide(self) -> None:
        """Give each endpoint its queue, and its receiver the secret."""
        provision, places = Provision(self.database, self.connection), asyncio.Semaphore(AT_ONCE)

        async def provide(endpoint: Endpoint) -> None:
            async with places:
                await provision.give(endpoint.id)

        await asyncio.gather(*map(provide, self.endpoints.values()))
        for endpoint in self.endpoints.values():
            secrets = [secret.value for secret in endpoint.secrets]
            await self.receivers.tell(endpoint.participant_id, secrets=secrets)

    async def _remove_queues(self) -> None:
        """Remove the endpoints' queues, from which no worker consumes any more."""
        provision = Provision(self.database, self.connection)
        await asyncio.gather(
            *(provision.remove(one.id, one.generation, self.publisher) for one in self.endpoints.values())
        )

    async def _forget(self) -> None:
        """Delete the keys in Redis."""
        connection, cursor = self.store.connection, b"0"
        while True:
            pattern = f"{connection.prefix}*"
            cursor, keys = await connection.ask("SCAN", cursor, "MATCH", pattern, "COUNT", KEYS)
            if keys:
                await connection.ask("UNLINK", *keys)
            if cursor == b"0":
                return


async def _import(database: Database, scenario: Scenario, file: Path, timezone: ZoneInfo) -> None:
    """Load who owns what, as an ISO would, and add those to whom nothing was dealt."""
    write_owners(scenario.owners, file)
    export = importing.read(file, timezone)
    if export.problems:
        raise InvalidFeedError(file.name, str(export.problems[0]))
    await database.run(lambda sql: importing.take_over(sql, export, ACT))
    owning = {row.entitlement.participant_id for row in export.rows}
    others = [(id_, of) for id_, of in scenario.participants.items() if id_ not in owning]
    await database.run(lambda sql: [participants.add(sql, id_, of, ACT) for id_, of in others])
    await database.run(
        lambda sql: [
            participants.add_contact(sql, of, f"contact@{number}.example", ACT)
            for number, of in enumerate(participants.find_organisations(sql), 1)
        ]
    )


async def _add_endpoints(
    database: Database, scenario: Scenario, receivers: RemoteReceivers
) -> list[Endpoint]:
    return await database.run(
        lambda sql: [
            endpoints.add(
                sql,
                one.id,
                ACT,
                subscriptions=one.subscriptions,
                name="demo",
                url=receivers.urls[one.id],
                ca_pem=receivers.ca_pem,
                ordered=one.ordered,
                latest_only=one.latest_only,
            )
            for one in scenario.plan.participants
        ]
    )


async def _verified(settings: Settings, database: Database, added: list[Endpoint]) -> list[Endpoint]:
    """Ask every receiver whether it wants our events. Raises UnavailableError when one does not."""
    webhook, places = webhooks(settings), asyncio.Semaphore(AT_ONCE)

    async def ask(endpoint: Endpoint) -> Verification:
        async with places:
            hook = webhook(endpoint)
            try:
                return await verify(hook, endpoint, source=settings.source("bus"))
            finally:
                await hook.aclose()

    for endpoint, asked in zip(added, await asyncio.gather(*map(ask, added)), strict=True):
        if not asked.passed:
            raise UnavailableError(f"the receiver of {endpoint.participant_id}: {asked.meaning}")
    return await database.run(
        lambda sql: [endpoints.mark_verified(sql, one.id, ACT, url=one.url) for one in added]
    )


def _behaviours(fault: Fault | None) -> tuple[Behaviour, ...]:
    """Return what a receiver does wrong all the time; going down and coming back is told when it is due."""
    match fault:
        case Fault(kind="slow"):
            return (Behaviour(kind="slow", seconds=fault.seconds),)
        case Fault(kind="failing"):
            return (Behaviour(kind="status", status=500, every=fault.every),)
        case Fault(kind="refusing"):
            return (Behaviour(kind="status", status=422, types=fault.types),)
    return ()
