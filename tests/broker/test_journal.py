import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from claimbus.broker import journal
from claimbus.broker.connection import Connection
from claimbus.broker.errors import BrokerUnavailableError, TopologyError
from claimbus.broker.publisher import Publisher
from tests.broker.conftest import TOPOLOGY
from tests.broker.samples import only, ticket, to

LONG_AGO = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for entries that do not come."""
    monkeypatch.setattr(journal, "FIRST", 0.5)
    monkeypatch.setattr(journal, "NEXT", 0.3)


async def numbers(connection: Connection, since: datetime = LONG_AGO) -> list[int]:
    return [
        int(entry.ticket.claim_id[5:])
        async for entry in journal.read(connection, since=since)
        if entry.ticket
    ]


async def test_the_journal_has_every_ticket_that_was_published_in_order(
    connection: Connection, publisher: Publisher
) -> None:
    sent = [ticket(number, partitionkey="M1", sequence=number) for number in range(1200)]
    await publisher.publish_ticket(sent[0], to(frozenset({"PGAE", "SCE1"})))
    for one in sent[1:]:
        await publisher.publish_ticket(one, only("PGAE"))
    entries = [entry async for entry in journal.read(connection, since=LONG_AGO)]
    assert [entry.ticket for entry in entries] == sent
    assert [entry.offset for entry in entries] == list(range(1200))
    assert {entry.routing_key for entry in entries} == {"oms.resource-outage.changed.PGAE"}


async def test_retries_and_redeliveries_are_not_in_the_journal(
    connection: Connection, publisher: Publisher
) -> None:
    await publisher.publish_ticket(ticket(1), only("PGAE"))
    await publisher.publish_retry(ticket(2, endpoint="e1"), TOPOLOGY.ladder[0])
    await publisher.publish_redelivery(ticket(3, endpoint="e1"))
    assert await numbers(connection) == [1]


async def test_reading_begins_at_the_moment_asked_for(connection: Connection, publisher: Publisher) -> None:
    await publisher.publish_ticket(ticket(1), only("PGAE"))
    # RabbitMQ's moments are whole seconds.
    await asyncio.sleep(1.1)
    since = datetime.now(UTC)
    await publisher.publish_ticket(ticket(2), only("PGAE"))
    assert await numbers(connection, since) == [2]


async def test_reading_begins_and_ends_at_the_offsets_asked_for(
    connection: Connection, publisher: Publisher
) -> None:
    for number in range(10):
        await publisher.publish_ticket(ticket(number), only("PGAE"))
    assert await journal.last_offset(connection) == 9
    assert [entry.offset async for entry in journal.read(connection, since=3, last=6)] == [3, 4, 5, 6]
    assert [entry.offset async for entry in journal.read(connection, since=8)] == [8, 9]
    assert [entry async for entry in journal.read(connection, since=10, last=9)] == []


async def test_reading_goes_on_where_it_was_when_the_connection_is_lost(
    connection: Connection, publisher: Publisher
) -> None:
    await asyncio.gather(*(publisher.publish_ticket(ticket(number), only("PGAE")) for number in range(1200)))
    offsets = []
    async for entry in journal.read(connection, since=LONG_AGO):
        if entry.offset in (0, 700):
            connection.abandon("lost for the test")
        offsets.append(entry.offset)
    assert offsets == list(range(1200))


async def test_a_journal_that_is_deleted_while_it_is_read_is_an_error(
    connection: Connection, publisher: Publisher
) -> None:
    for number in range(2):
        await publisher.publish_ticket(ticket(number), only("PGAE"))
    entries = journal.read(connection, since=LONG_AGO, last=5)
    assert (await anext(entries)).offset == 0
    async with await connection.channel() as channel:
        await channel.delete_queue("journal")
    with pytest.raises(TopologyError, match="consuming journal: 404"):
        [entry async for entry in entries]


async def test_a_journal_that_falls_silent_in_the_middle_is_an_error(
    connection: Connection, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SILENCE", 0.3)
    await publisher.publish_ticket(ticket(0), only("PGAE"))
    with pytest.raises(BrokerUnavailableError, match="fell silent before entry 1 of 5"):
        [entry async for entry in journal.read(connection, since=LONG_AGO, last=5)]


async def test_an_empty_journal_has_no_entries(connection: Connection) -> None:
    assert await numbers(connection) == []


async def test_nothing_is_read_from_after_the_last_entry(
    connection: Connection, publisher: Publisher
) -> None:
    await publisher.publish_ticket(ticket(1), only("PGAE"))
    assert await numbers(connection, datetime.now(UTC) + timedelta(hours=1)) == []


@pytest.mark.timeout(60)
async def test_whether_anything_is_as_new_as_the_moment_is_known_without_waiting(
    connection: Connection, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "FIRST", 3600)
    monkeypatch.setattr(journal, "NEXT", 0)
    for number in range(30):
        await publisher.publish_ticket(ticket(number), only("PGAE"))
        entries = [entry.offset async for entry in journal.read(connection, since=LONG_AGO, last=number)]
        assert entries == list(range(number + 1))
    later = datetime.now(UTC) + timedelta(hours=1)
    assert [entry async for entry in journal.read(connection, since=later, last=29)] == []


async def test_without_a_journal_there_is_an_error(connection: Connection) -> None:
    async with await connection.channel() as channel:
        await channel.delete_queue("journal")
    with pytest.raises(TopologyError, match="consuming journal: 404"):
        await numbers(connection)
