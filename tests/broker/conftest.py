"""A private node for the whole session, and what most of this room's tests begin with."""

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trustme

from claimbus.broker import topology
from claimbus.broker.connection import Connection
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import Topology, parse_ladder
from tests.broker.nodes import Node

TOPOLOGY = Topology(ladder=parse_ladder("300ms,1s"))


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Node]:
    certificates = tmp_path_factory.mktemp("certificates")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(certificates / "ca.pem")
    issued.private_key_pem.write_to_path(certificates / "key.pem")
    issued.cert_chain_pems[0].write_to_path(certificates / "cert.pem")
    with Node(tmp_path_factory.mktemp("rabbitmq"), certificates) as node:
        yield node


@pytest.fixture
def private_url(node: Node) -> str:
    """The AMQP URL of a vhost of its own on the private node."""
    return node.add_vhost(f"v{uuid.uuid4().hex[:12]}")


@pytest.fixture
async def connection(amqp_url: str) -> AsyncIterator[Connection]:
    """A connection to a vhost in which everything is declared."""
    async with declared(amqp_url) as connection:
        yield connection


@pytest.fixture
async def publisher(connection: Connection, amqp_url: str) -> AsyncIterator[Publisher]:
    publisher = await Publisher.open(amqp_url, confirm_timeout=10)
    yield publisher
    await publisher.aclose()


@asynccontextmanager
async def declared(url: str) -> AsyncIterator[Connection]:
    """Connect and declare everything."""
    connection = await Connection.open(url, name="test")
    async with await connection.channel() as channel:
        await topology.declare(channel, TOPOLOGY)
    try:
        yield connection
    finally:
        await connection.aclose()
