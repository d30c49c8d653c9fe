"""A portal over TLS on real servers, in the test's own event loop, and whoever knocks at it."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

import orjson
import trustme
from pyreqwest.client import Client, ClientBuilder

from claimbus.cli.settings import Settings
from claimbus.cli.wiring import Wiring
from claimbus.cli.wiring.portal import portal_services
from claimbus.database import authorities, certificates, participants, tokens
from claimbus.database.access import Grant, Role
from claimbus.database.audit import Act
from claimbus.events.event import Audience
from claimbus.events.routing import DOMAINS
from claimbus.portal.serve import serve
from claimbus.portal.services import Services
from claimstore.claim import CheckedIn
from tests.producers.bus import closed

ACT = Act("tests")


class How(TypedDict, total=False):
    """How to ask; ``identity`` is a certificate with its key, PEM; ``anew``: on a new connection."""

    token: str
    identity: bytes
    headers: Mapping[str, str]
    anew: bool


class Got(NamedTuple):
    """An answer, all of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401
        return orjson.loads(self.body)


@dataclass
class Portal:
    """A running portal. ``ca`` issued its own certificate, and clients' if it is `trusted` too."""

    services: Services
    url: str
    ca: trustme.CA
    _clients: dict[bytes | None, Client] = field(default_factory=dict)

    def participant(self, name: str, *event_types: str, organisation: str | None = None) -> None:
        """Add a participant; every event type is open to it unless some are named."""
        owner = organisation or f"{name} Inc"
        with self.services.database.transaction() as sql:
            participants.add(sql, name, owner, ACT, event_types=event_types or ("#",))

    def token(
        self,
        *roles: Role,
        participant: str | None = None,
        organisation: str | None = None,
        lives: timedelta = timedelta(days=1),
        name: str = "a test's",
    ) -> str:
        """Add a token; a publisher's is for all domains."""
        grant = Grant(frozenset(roles), participant, organisation, _publishes(roles))
        with self.services.database.transaction() as sql:
            act = Act("tests")
            return tokens.add(sql, name, grant, act, expires_at=act.at + lives)[1]

    def token_of(self, participant: str) -> str:
        """Add a token of a participant."""
        return self.token(Role.PARTICIPANT, participant=participant)

    async def trusted(
        self, ca: trustme.CA, *, since: timedelta = timedelta(0), until: datetime | None = None
    ) -> str:
        """Let an authority's client certificates count, from so long ago on; returns its ID."""
        begin = datetime.now(UTC) - since
        pem = ca.cert_pem.bytes()
        with self.services.database.transaction() as sql:
            added = authorities.put(sql, pem, ACT, counts_from=begin, counts_to=until)
        await self.services.trust.refresh()
        return added.id

    def known(
        self,
        subject: str,
        *roles: Role,
        participant: str | None = None,
        issued_by: Collection[str] | None = None,
    ) -> str:
        """Let certificates of a subject stand for somebody; returns the subject's ID."""
        grant = Grant(frozenset(roles), participant, None, _publishes(roles))
        with self.services.database.transaction() as sql:
            return certificates.add(sql, subject, grant, ACT, issued_by=issued_by).id

    async def claim(
        self, *, audience: Audience = "all", type_: str = "market.dam.closed", body: bytes = b'{"a": 1}'
    ) -> CheckedIn:
        """Check in an event."""
        event = replace(closed(audience=audience), type=type_, body=body)
        return await self.services.store.check_in(event)

    async def ask(self, method: str, path: str, **how: Unpack[How]) -> Got:
        """Make a request; an identity's connection is kept for its next one."""
        identity = how.get("identity")
        if how.get("anew") and identity in self._clients:
            await self._clients.pop(identity).close()
        client = self._clients.get(identity) or self._client(identity)
        request = client.request(method, self.url + path).headers(how.get("headers", {}))
        if "token" in how:
            request = request.bearer_auth(how["token"])
        response = await request.build().send()
        body = (await response.bytes()).to_bytes()
        found = {name.lower(): value for name, value in response.headers.items()}
        return Got(response.status, found, body)

    async def get(self, path: str, **how: Unpack[How]) -> Got:
        """Make a GET request, as `ask` does."""
        return await self.ask("GET", path, **how)

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.close()

    def _client(self, identity: bytes | None) -> Client:
        builder = (
            ClientBuilder()
            .add_root_certificate_pem(self.ca.cert_pem.bytes())
            .no_proxy()
            .gzip(enable=False)
            .timeout(timedelta(seconds=20))
        )
        if identity is not None:
            builder = builder.identity_pem(identity)
        self._clients[identity] = builder.build()
        return self._clients[identity]


def _publishes(roles: Collection[Role]) -> frozenset[str]:
    return frozenset(DOMAINS if Role.PUBLISHER in roles else ())


def identity(ca: trustme.CA, common_name: str, *, organisation: str = "A participant") -> bytes:
    """A client certificate with its key. Its subject is `subject_of` the same."""
    issued = ca.issue_cert(
        f"{common_name}@clients.example",
        common_name=common_name,
        organization_name=organisation,
        organization_unit_name="tests",
    )
    return issued.private_key_and_cert_chain_pem.bytes()


def subject_of(common_name: str, *, organisation: str = "A participant") -> str:
    """The subject of such a certificate."""
    return f"CN={common_name},OU=tests,O={organisation}"


@asynccontextmanager
async def open_portal(settings: Settings, directory: Path) -> AsyncIterator[Portal]:
    """A portal until the end of the block; it must stop by itself then."""
    ca = trustme.CA()
    file = directory / "portal.pem"
    ca.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(file)
    stop, listening = asyncio.Event(), asyncio.Future[str]()
    async with Wiring(settings) as wiring:
        services = await portal_services(wiring)
        serving = asyncio.create_task(
            serve(
                services,
                listen=settings.portal_listen,
                certificate_file=file,
                stop=stop,
                ready=listening.set_result,
                grace=timedelta(seconds=5),
            )
        )
        waiting: list[asyncio.Future[Any]] = [serving, listening]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        portal = Portal(services, listening.result(), ca)
        try:
            yield portal
        finally:
            await portal.aclose()
            stop.set()
            await serving
