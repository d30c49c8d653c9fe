"""What is live: it is there within two looks, and it ends when it must."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from pyreqwest.response import Response
from sqlalchemy import select, update

from claimbus.cli.settings import Settings
from claimbus.database import schema, sessions, tokens
from claimbus.database.access import Role
from claimbus.portal.pages import live
from tests.portal.portals import ACT, Portal, open_portal
from tests.portal.seeding import endpoint, logged_in, text, uaa
from tests.portal.visitors import Visitor, visiting
from tests.services import required

pytestmark = pytest.mark.usefixtures("pgae")


@pytest.fixture
def pgae(portal: Portal) -> None:
    portal.participant("PGAE")


async def test_a_hold_is_on_the_screen_with_the_second_message_at_the_latest(portal: Portal) -> None:
    one = endpoint(portal)
    async with logged_in(portal) as operator, watching(operator) as messages:
        assert "Everything is reaching everybody" in await anext(messages)
        for _ in range(5):
            await portal.services.holds.failed(one.id)
        under_way = await anext(messages)
        assert "1 endpoint is held" in under_way or "1 endpoint is held" in await anext(messages)


async def test_all_who_watch_see_the_same_look(portal: Portal) -> None:
    async with (
        logged_in(portal) as one,
        logged_in(portal) as other,
        watching(one) as first,
        watching(other) as second,
    ):
        seen = {_at(await anext(first)) for _ in range(3)}
        assert seen & {_at(await anext(second)) for _ in range(3)}


async def test_a_revoked_token_ends_the_stream(portal: Portal) -> None:
    token = portal.token(Role.OPERATOR)
    async with visiting(portal) as operator:
        await operator.log_in(token)
        async with watching(operator) as messages:
            await anext(messages)
            with portal.services.database.transaction() as sql:
                [known] = tokens.find(sql)
                tokens.revoke(sql, known.id, ACT)
            assert "event: end" in await _last(messages)


async def test_logging_out_ends_the_stream(portal: Portal) -> None:
    async with logged_in(portal) as operator, watching(operator) as messages:
        await anext(messages)
        [cookie] = operator.cookies.values()
        with portal.services.database.transaction() as sql:
            sessions.end(sql, cookie)
        assert "event: end" in await _last(messages)


async def test_who_watches_the_overview_stays_logged_in(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with logged_in(portal) as operator:
        async with watching(operator) as messages:  # to begin with it is a use anyway
            await anext(messages)
            _leave_idle(portal, minutes=29)
            await anext(messages)
            await anext(messages)
        assert _idle(portal) < timedelta(minutes=1)
        _leave_idle(portal, minutes=31)  # watched by nobody meanwhile
        assert (await operator.get("/overview")).status == 303
    async with logged_in(portal) as operator, watching(operator) as messages:
        await anext(messages)
        monkeypatch.setattr(live, "note_use", _never)
        monkeypatch.setattr(sessions, "IDLE", timedelta(0))
        assert "event: end" in await _last(messages)


async def test_a_use_is_written_down_once_a_minute_however_many_look(portal: Portal) -> None:
    async with logged_in(portal) as operator:
        async with watching(operator) as messages, watching(operator) as others:
            await anext(messages)
            _leave_idle(portal, minutes=0.5)
            for _ in range(3):
                await anext(messages)
                await anext(others)
        assert _idle(portal) >= timedelta(minutes=0.5)


async def test_watching_ends_with_the_session_after_twelve_hours(portal: Portal) -> None:
    async with logged_in(portal) as operator, watching(operator) as messages:
        await anext(messages)
        with portal.services.database.transaction() as sql:
            sql.execute(update(schema.sessions).values(expires_at=datetime.now(UTC)))
        assert "event: end" in await _last(messages)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_who_watches_sees_that_the_database_went_away_and_came_back(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    (folder := tmp_path / "portal").mkdir()
    elsewhere = settings.model_copy(update={"database_url": database_url})
    async with (
        open_portal(elsewhere, folder) as portal,
        logged_in(portal) as operator,
        watching(operator) as messages,
    ):
        with _closed(database_url):
            while "The database is away." not in await anext(messages):
                pass
            got = await operator.get("/overview")
            assert got.status == 503
            assert "A service is away" in text(got)
        while "Everything is reaching everybody." not in await anext(messages):
            pass


async def test_a_portal_that_stops_lets_its_watchers_go(portal: Portal) -> None:
    async with logged_in(portal) as operator, watching(operator) as messages:
        await anext(messages)
        portal.services.stopping.set()
        assert not [one async for one in messages if "event: end" in one]


async def test_silence_is_broken_by_a_comment(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BEAT", 0.0)
    async with logged_in(portal) as operator, _opened(operator) as response:
        heard = ""
        async with asyncio.timeout(10):
            while "\n: still here\n" not in heard:
                heard += await _piece(response)


async def test_who_may_not_see_the_page_may_not_watch_it(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        got = await visitor.get("/live/overview")
        assert got.status == 403
        assert "event-stream" not in got.headers["content-type"]


@asynccontextmanager
async def watching(visitor: Visitor) -> AsyncIterator[AsyncIterator[str]]:
    """Watch the overview: its messages as they come, each within seconds."""
    async with _opened(visitor) as response:
        assert response.status == 200
        assert response.get_header("content-type") == "text/event-stream; charset=utf-8"
        async with aclosing(_messages(response)) as messages:
            yield messages


@asynccontextmanager
async def _opened(visitor: Visitor) -> AsyncIterator[Response]:
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    request = visitor.client.get(visitor.portal.url + "/live/overview").headers({"cookie": cookie})
    async with request.streamed_read_buffer_limit(0).build_streamed() as response:
        yield response


async def _messages(response: Response) -> AsyncGenerator[str]:
    rest = ""
    while piece := await _piece(response):
        *whole, rest = (rest + piece).split("\n\n")
        for message in whole:
            if message.startswith(("data:", "event:")):
                yield message


async def _piece(response: Response) -> str:
    async with asyncio.timeout(10):
        chunk = await response.body_reader.read_chunk()
    return "" if chunk is None else chunk.to_bytes().decode()


async def _last(messages: AsyncIterator[str]) -> str:
    return [message async for message in messages][-1]


@contextmanager
def _closed(database_url: str) -> Iterator[None]:
    """Let nobody into a database of PostgreSQL's, and throw out who is in."""
    name = database_url.rpartition("/")[2]
    with psycopg.connect(required("CLAIMBUS_TEST_POSTGRESQL_URL"), autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def _leave_idle(portal: Portal, *, minutes: float) -> None:
    """Let it be so long ago that the sessions were used."""
    seen = datetime.now(UTC) - timedelta(minutes=minutes)
    with portal.services.database.transaction() as sql:
        sql.execute(update(schema.sessions).values(seen_at=seen))


def _idle(portal: Portal) -> timedelta:
    with portal.services.database.snapshot() as sql:
        seen: datetime = sql.execute(select(schema.sessions.c.seen_at)).scalar_one()
    return datetime.now(UTC) - seen


async def _never(*_: object) -> None:
    """Note no use."""


def _at(message: str) -> str:
    return message.partition('<time datetime="')[2].partition('"')[0]
