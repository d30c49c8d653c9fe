"""The certificate that a receiver shows: on its endpoint's page, in its health, among what ends first."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
import trustme

from claimbus.cli.ports import PortRange
from claimbus.cli.settings import Settings
from claimbus.database import endpoints, receiver_certificates
from claimbus.database.access import Role
from claimbus.database.endpoint import Endpoint
from claimbus.database.receiver_certificates import Certificate
from tests.portal.asking import asking
from tests.portal.portals import ACT, Got, Portal
from tests.portal.seeding import HTML, endpoint, logged_in, uaa
from tests.portal.seeding import text as said

ENDS = datetime.now(UTC).replace(microsecond=0) + timedelta(days=12, hours=12)
AGREES = b"HTTP/1.1 200 OK\r\nwebhook-allowed-origin: *\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    networks, ports = (ip_network("127.0.0.0/8"),), (PortRange(1, 65535),)
    return settings.model_copy(update={"webhook_networks": networks, "webhook_ports": ports})


@pytest.fixture(autouse=True)
def participants_(portal: Portal) -> None:
    portal.participant("PGAE")
    portal.participant("SCEC")


def text(got: Got) -> str:
    """What a page says, with plain apostrophes."""
    return said(got).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


@asynccontextmanager
async def receiver(ca: trustme.CA, *, ends: datetime = ENDS) -> AsyncIterator[str]:
    """A receiver that agrees to everything; gives its URL."""

    async def agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(AGREES)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", not_after=ends).configure_cert(tls)
    server = await asyncio.start_server(agree, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def seen(portal: Portal, at: Endpoint, days: float, *, subject: str = "CN=one") -> None:
    now = datetime.now(UTC)
    shown = Certificate("a" * 64, subject, f"O={HTML}", now - timedelta(days=300), now + timedelta(days=days))
    with portal.services.database.transaction() as sql:
        receiver_certificates.note(sql, at.id, at.url or "", shown, now)


async def test_an_endpoint_that_was_just_added_tells_its_receiver_s_certificate(portal: Portal) -> None:
    ca = trustme.CA()
    async with (
        receiver(ca) as url,
        asking(portal, portal.token(Role.UAA, organisation="PGAE Inc")) as program,
    ):
        new: dict[str, Any] = {"participant_id": "PGAE", "kind": "webhook", "name": "one", "url": url}
        added = await program.post("/v1/endpoints", new | {"ca_pem": ca.cert_pem.bytes().decode()})
        assert added.status == 201
        assert added.json["endpoint"]["state"] == "active"
        id_ = added.json["endpoint"]["id"]
        told = (await program.get(f"/v1/endpoints/{id_}/health")).json["receiver_certificate"]
        assert datetime.fromisoformat(told["ends_at"]) == ENDS
        assert "trustme" in told["issuer"]
        others = portal.token(Role.UAA, organisation="SCEC Inc")
        assert (await program.get(f"/v1/endpoints/{id_}/health", token=others)).status == 403


async def test_one_that_has_ended_is_told_though_the_receiver_could_not_be_asked(portal: Portal) -> None:
    ca, ended = trustme.CA(), datetime(2021, 1, 1, tzinfo=UTC)
    async with (
        receiver(ca, ends=ended) as url,
        asking(portal, portal.token(Role.UAA, organisation="PGAE Inc")) as program,
    ):
        new: dict[str, Any] = {"participant_id": "PGAE", "kind": "webhook", "name": "one", "url": url}
        added = await program.post("/v1/endpoints", new | {"ca_pem": ca.cert_pem.bytes().decode()})
        assert added.json["endpoint"]["state"] == "pending"
        assert "ended on 2021-01-01" in added.json["verification"]["meaning"]
        id_ = added.json["endpoint"]["id"]
        told = (await program.get(f"/v1/endpoints/{id_}/health")).json["receiver_certificate"]
        assert datetime.fromisoformat(told["ends_at"]) == ended
        async with uaa(portal) as visitor:
            page = text(await visitor.get(f"/endpoints/{id_}"))
            assert re.search(r'tile bad"><p class="name">Receiver.s certificate ended', page)


async def test_its_end_stands_on_the_page_with_its_colour(portal: Portal) -> None:
    far = endpoint(portal, name="far", url="https://far.invalid/")
    soon = endpoint(portal, name="soon", url="https://soon.invalid/")
    never = endpoint(portal, name="never", url="https://never.invalid/")
    seen(portal, far, 90.5)
    seen(portal, soon, 9.5)
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/endpoints"))
        assert page.count("its receiver's certificate ends") == 1
        page = text(await visitor.get(f"/endpoints/{soon.id}"))
        assert re.search(
            r'tile warn"><p class="name">Receiver.s certificate ends</p><p class="value">.*in 9 days', page
        )
        assert re.search(r'Your server.s certificate.*badge warn">ends in 9 days.*; seen <time', page)
        page = text(await visitor.get(f"/endpoints/{far.id}"))
        assert re.search(r'tile"><p class="name">Receiver.s certificate ends', page)
        page = text(await visitor.get(f"/endpoints/{never.id}"))
        assert "Receiver's certificate" not in page


async def test_what_a_receiver_calls_itself_is_no_markup(portal: Portal) -> None:
    one = endpoint(portal, url="https://one.invalid/")
    seen(portal, one, 9, subject=f"CN={HTML}")
    async with uaa(portal) as visitor:
        for path in ("/credentials", f"/endpoints/{one.id}"):
            assert HTML.encode() not in (await visitor.get(path)).body
            assert HTML in text(await visitor.get(path))


async def test_it_stands_among_what_ends_first_for_its_own_only(portal: Portal) -> None:
    soon = endpoint(portal, name="soon", url="https://soon.invalid/")
    late = endpoint(portal, name="late", url="https://late.invalid/")
    theirs = endpoint(portal, "SCEC", name="theirs", url="https://theirs.invalid/")
    seen(portal, soon, 0.5)
    seen(portal, late, 90)
    seen(portal, theirs, 3)
    own = portal.token(Role.UAA, organisation="PGAE Inc", name="kay")
    async with asking(portal, own) as program:
        told = (await program.get("/v1/credentials")).json["items"]
        assert [(one["kind"], one["name"]) for one in told] == [
            ("receiver", "soon"),
            ("token", "kay"),
            ("receiver", "late"),
        ]
        assert (told[0]["id"], told[0]["roles"], told[0]["participant_id"]) == (soon.id, [], "PGAE")
        operator = portal.token(Role.OPERATOR, name="op")
        names = {one["name"] for one in (await program.get("/v1/credentials", token=operator)).json["items"]}
        assert names == {"soon", "late", "theirs", "kay", "op"}
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/credentials"))
        assert "receiver's certificate" in page
        assert f'<a href="/endpoints/{soon.id}">soon</a>' in page
        assert "theirs" not in page
        first = text(await visitor.get(f"/endpoints/{late.id}"))
        assert "the first to end is the certificate that your server shows for soon" in first


async def test_nothing_is_left_of_another_url_or_a_removed_endpoint(portal: Portal) -> None:
    moved = endpoint(portal, name="moved", url="https://moved.invalid/")
    gone = endpoint(portal, name="gone", url="https://gone.invalid/")
    for one in (moved, gone):
        seen(portal, one, 3)
    with portal.services.database.transaction() as sql:
        endpoints.change(sql, moved.id, ACT, url="https://elsewhere.invalid/")
        endpoints.remove(sql, gone.id, ACT)
    async with logged_in(portal) as visitor, asking(portal, portal.token(Role.OPERATOR)) as program:
        for one in (moved, gone):
            health = (await program.get(f"/v1/endpoints/{one.id}/health")).json
            assert health["receiver_certificate"] is None
            assert "Receiver's certificate" not in text(await visitor.get(f"/endpoints/{one.id}"))
        assert "receiver's certificate" not in text(await visitor.get("/credentials"))
