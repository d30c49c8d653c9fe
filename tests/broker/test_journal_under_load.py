"""The journal's end, while more and more is published."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from claimbus.broker import journal
from claimbus.broker.connection import Connection
from claimbus.broker.publisher import Publisher
from tests.broker.samples import only, ticket


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LAST", 1.0)


@pytest.mark.timeout(30)
async def test_the_end_is_found_although_entries_never_cease(
    connection: Connection, publisher: Publisher
) -> None:
    published = 0

    async def publish() -> None:
        nonlocal published
        while True:
            await publisher.publish_ticket(ticket(published), only("PGAE"))
            published += 1
            await asyncio.sleep(journal.NEXT / 10)

    publishing = asyncio.create_task(publish())
    try:
        before = published
        last = await journal.last_offset(connection)
        assert last is not None
        assert last >= before - 1
        since = datetime.now(UTC) - timedelta(days=1)
        before = published
        offsets = [entry.offset async for entry in journal.read(connection, since=since)]
        assert offsets[:before] == list(range(before))
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
