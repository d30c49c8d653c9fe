"""Bodies fetched from the ISO's real portal, over a network that cuts connections."""

import asyncio
from contextlib import aclosing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from claimbus.subscribers import BodyRefusedError
from claimbus.subscribers.address import Identity
from claimbus.subscribers.claims import Claims
from tests.claimstore.samples import noise
from tests.portal.conftest import portal, settings, shared_amqp_url
from tests.portal.portals import Portal

__all__ = ["portal", "settings", "shared_amqp_url"]

MIB = 1 << 20


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int) -> None:
    """Pass bytes on, until there were so many; then break the connection."""
    while most > 0 and (data := await reader.read(65536)):
        most -= len(data)
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


async def test_a_body_goes_on_where_the_network_cut_it(
    portal: Portal,
    tmp_path: Path,
) -> None:
    portal.participant("PGAE")
    portal.participant("SCE1")
    body = noise(16 * MIB)
    place = await portal.claim(audience=frozenset({"PGAE"}), body=body)
    portal.ca.cert_pem.write_to_path(tmp_path / "iso.pem")
    passed: list[int] = []

    async def network(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", urlsplit(portal.url).port)
        passed.append(6 * MIB if len(passed) < 2 else 1 << 40)
        with suppress(ConnectionError):
            await asyncio.gather(
                _passed_on(reader, back, 1 << 40),
                _passed_on(there, writer, passed[-1]),
                return_exceptions=True,
            )

    async with await asyncio.start_server(network, "127.0.0.1", 0) as server:
        host, port = urlsplit(portal.url).hostname, server.sockets[0].getsockname()[1]
        mine = Identity(ca_file=tmp_path / "iso.pem", token=portal.token_of("PGAE"))
        async with aclosing(Claims(f"https://{host}:{port}", mine)) as claims:
            got = b"".join([chunk async for chunk in claims.chunks(f"/v1/claims/{place.claim_id}")])
        assert got == body
        assert len(passed) == 3
        another = Identity(ca_file=tmp_path / "iso.pem", token=portal.token_of("SCE1"))
        async with aclosing(Claims(f"https://{host}:{port}", another)) as claims:
            with pytest.raises(BodyRefusedError, match="403"):
                await anext(claims.chunks(f"/v1/claims/{place.claim_id}"))
