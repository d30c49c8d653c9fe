import asyncio
import socket
import ssl
from collections.abc import Iterator

import pytest
import trustme

from claimbus.broker import connections
from claimbus.broker.channel import Channel
from claimbus.broker.connection import Connection
from claimbus.broker.errors import BrokerBlockedError, BrokerUnavailableError
from claimbus.broker.publisher import Publisher
from claimbus.cli.services.server import free_ports
from claimbus.events.errors import ConfigurationError
from tests.broker.conftest import TOPOLOGY, declared
from tests.broker.nodes import Node
from tests.broker.proxy import proxy_before
from tests.broker.samples import consuming, declare_endpoint, only, ticket
from tests.waiting import eventually

ALARM = "{resource_limit, memory, node()}"


async def test_of_several_hosts_one_that_answers_is_taken(amqp_url: str) -> None:
    dead = f"127.0.0.1:{free_ports(1)[0]}"
    several = amqp_url.replace("@", f"@{dead},")
    for _ in range(5):
        connection = await Connection.open(several, name="test")
        assert connection.is_open
        await connection.aclose()


async def test_a_lost_host_is_replaced_by_another(amqp_url: str) -> None:
    async with proxy_before(amqp_url) as proxy:
        only_host = proxy.url.rpartition("@")[2].partition("/")[0]
        connection = await Connection.open(amqp_url.replace("@", f"@{only_host},"), name="test")
        reopened: list[bool] = []
        connection.on_reopened(lambda: reopened.append(True))
        await proxy.refuse()
        connection.abandon("test")
        async with await connection.channel() as channel:
            assert channel.is_open
        assert reopened
        await connection.aclose()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [("guest:guest", "refuses this user name or password"), ("/test-", "does not open this vhost")],
)
async def test_what_rabbitmq_refuses_is_a_wrong_setting(amqp_url: str, wrong: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as refused:
        await Connection.open(amqp_url.replace(wrong, wrong[:-1] + "X"), name="test")
    assert refused.value.field == "amqp_url"
    assert "guesX" not in str(refused.value)


async def test_a_missing_server_is_one_clear_error() -> None:
    [port] = free_ports(1)
    with pytest.raises(BrokerUnavailableError, match=f"does not answer at 127.0.0.1:{port}: .*refused"):
        await Connection.open(f"amqp://127.0.0.1:{port}", name="test", within=0.1)


@pytest.fixture
def silent_url() -> Iterator[str]:
    """Something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"amqp://127.0.0.1:{server.getsockname()[1]}"


async def test_a_server_that_says_nothing_is_given_up(
    silent_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claimbus.broker.connection.CONNECT_TIMEOUT", 0.2)
    with pytest.raises(BrokerUnavailableError, match="does not answer"):
        await Connection.open(silent_url, name="test", within=0.1)


async def test_connecting_can_be_cancelled(silent_url: str) -> None:
    task = asyncio.create_task(Connection.open(silent_url, name="test"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_opening_a_channel_can_be_cancelled_and_the_connection_stays(amqp_url: str) -> None:
    connection = await Connection.open(amqp_url, name="test")
    standing = await connection.channel()
    for _ in range(5):
        opening = asyncio.create_task(connection.channel())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    async with await connection.channel() as another:
        await another.qos(1)
    await standing.qos(1)  # the same connection: it was never lost
    await connection.aclose()


async def test_a_server_that_stops_answering_on_a_channel_is_noticed(amqp_url: str) -> None:
    async with proxy_before(amqp_url) as proxy:
        connection = await Connection.open(proxy.url, name="test", answer_timeout=3)
        channel = await connection.channel()
        proxy.mute()
        with pytest.raises(BrokerUnavailableError, match="declaring queue q: no answer within 3 s"):
            await channel.declare_queue("q", {})
        with pytest.raises(BrokerUnavailableError, match="gives no channel"):
            await connection.channel()
        await connection.aclose()


async def test_amqps_reaches_a_server_whose_authority_is_trusted(node: Node, authority: trustme.CA) -> None:
    url = f"amqps://127.0.0.1:{node.tls_port}"
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    publisher = await Publisher.open(url, tls=trusting, topology=TOPOLOGY)
    await publisher.publish_ticket(ticket(1), only("PGAE"))
    await publisher.aclose()
    with pytest.raises(ConfigurationError, match="certificate is not trusted"):
        await Connection.open(url, name="test")


async def test_an_alarm_blocks_publishing_with_a_clear_error_and_nothing_is_lost(
    node: Node, private_url: str
) -> None:
    publisher = await Publisher.open(private_url, confirm_timeout=3, topology=TOPOLOGY)
    heard: list[str | None] = []
    publisher.connection.on_blocked(heard.append)
    async with declared(private_url) as connection:
        queue = await declare_endpoint(connection, "e1", "PGAE")
        await publisher.publish_ticket(ticket(1), only("PGAE"))
        async with consuming(connection, queue) as inbox:
            await asyncio.to_thread(node.call, f"rabbit_alarm:set_alarm({{{ALARM}, []}})")
            try:
                with pytest.raises(BrokerBlockedError, match="low on memory"):
                    await publisher.publish_ticket(ticket(2), only("PGAE"))
                assert publisher.connection.blocked == "low on memory"
                with pytest.raises(BrokerBlockedError, match="low on memory"):
                    await publisher.publish_ticket(ticket(3), only("PGAE"), within=0.1)
                await eventually(lambda: inbox.claims == ["claim00000001"])
            finally:
                await asyncio.to_thread(node.call, f"rabbit_alarm:clear_alarm({ALARM})")
            await publisher.publish_ticket(ticket(4), only("PGAE"))
            await eventually(lambda: inbox.claims[-1] == "claim00000004")
    assert heard == ["low on memory", None]
    assert publisher.connection.blocked is None
    await publisher.aclose()


async def test_a_further_connection_is_opened_when_one_is_full_and_used_while_it_has_room(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CHANNELS", 2)
    first = await Connection.open(amqp_url, name="test")
    pool = connections.Connections(first)

    async def opened() -> tuple[Connection, Channel]:
        connection = await pool.roomy()
        return connection, await connection.channel()

    taken = [await opened() for _ in range(4)]
    assert [connection is first for connection, _ in taken] == [True, True, False, False]
    assert taken[2][0] is taken[3][0]
    await taken[0][1].close()
    assert await pool.roomy() is first
    await pool.aclose()
    assert first.is_open
    assert not taken[2][0].is_open
    await first.aclose()
