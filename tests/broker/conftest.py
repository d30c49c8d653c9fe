"""A private node for the whole session, and what most of this room's tests begin with."""

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from claimbus.broker import topology
from claimbus.broker.connection import Connection
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import Topology, parse_ladder
from tests.broker.nodes import Node, available, private_node

TOPOLOGY = Topology(ladder=parse_ladder("300ms,1s"))


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Node]:
    if not available():
        pytest.skip("rabbitmq-server is not installed on this machine")
    directory = tmp_path_factory.mktemp("rabbitmq")
    with private_node(directory, _settings(directory, authority)) as node:
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


def _settings(directory: Path, authority: trustme.CA) -> str:
    issued = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    issued.private_key_pem.write_to_path(str(directory / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    return f"""
listeners.ssl.default = 127.0.0.1:{{tls_port}}
ssl_options.cacertfile = {directory}/ca.pem
ssl_options.certfile = {directory}/cert.pem
ssl_options.keyfile = {directory}/key.pem
ssl_options.versions.1 = tlsv1.2
ssl_options.versions.2 = tlsv1.3
channel_max = 2047
"""
