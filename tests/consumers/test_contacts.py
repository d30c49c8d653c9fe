"""Contacts are told at least once, and once while nothing dies; nobody waits for who cannot be told."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import structlog
from prometheus_client import CollectorRegistry

from claimbus.database import audit, endpoints, holds, participants, tidings
from claimbus.database.audit import Act, Subject
from claimbus.database.engine import Database
from claimbus.database.holds import HoldEvent
from claimbus.events.tls import client_context
from claimbus.mail.opening import open_post
from consumers import contacts
from consumers.contacts import Contacts, Delay
from consumers.wording import Wording
from tests.mail.servers import MailServer, mail_server
from tests.waiting import eventually, never

ACT = Act("tests")
WORDING = Wording(environment="test", portal_url="", zone=ZoneInfo("UTC"))
LONG_AGO = timedelta(minutes=2)


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """Two organisations with contacts, one without, each with an endpoint of its participant's name."""
    with Database.open(sqlite_url) as database:
        with database.transaction() as sql:
            for name, organisation in (("PGAE", "Pacific"), ("SCE1", "Edison"), ("TIDC", "Turlock")):
                participants.add(sql, name, organisation, ACT)
                endpoints.add(sql, name, ACT, kind="stream", name=name.lower())
            participants.add_contact(sql, "Pacific", "jane@pacific.example", ACT)
            participants.add_contact(sql, "Pacific", "john@pacific.example", ACT)
            participants.add_contact(sql, "Edison", "eve@edison.example", ACT)
            tidings.begin(sql, contacts.READER)
        yield database


def happens(database: Database, participant: str, what: str = "held", *, ago: timedelta = LONG_AGO) -> None:
    with database.transaction() as sql:
        (endpoint,) = endpoints.find(sql, participant_id=participant)
        event = HoldEvent(endpoint.id, what, datetime.now(UTC) - ago, "it is away")  # type: ignore[arg-type]
        holds.record(sql, event)


def telling(
    database: Database, port: int, *, name: str = "one", registry: CollectorRegistry | None = None
) -> Contacts:
    post = open_post(f"smtp://127.0.0.1:{port}?tls=none", sender="bus@iso.example", tls=client_context)
    return Contacts(
        database,
        post,
        WORDING,
        name=name,
        registry=registry or CollectorRegistry(),
        look_every=timedelta(milliseconds=20),
    )


@asynccontextmanager
async def running(*all_of_them: Contacts) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one.run()) for one in all_of_them]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def at_rest(database: Database) -> Callable[[], bool]:
    """Whether nothing waits to be told."""

    def look() -> bool:
        with database.snapshot() as sql:
            return tidings.waiting(sql, contacts.READER) == (None, 0)

    return look


async def test_the_contacts_of_the_organisation_are_told_and_nobody_else(database: Database) -> None:
    async with mail_server() as server:
        happens(database, "PGAE")
        await telling(database, server.port).look()
    assert server.told == ["jane@pacific.example", "john@pacific.example"]
    subject = '[test] endpoint "pgae" of PGAE: held'
    assert {message["Subject"] for _, message in server.mails} == {subject}
    assert [message["To"] for _, message in server.mails] == server.told
    assert at_rest(database)()


async def test_what_happens_within_a_minute_is_one_mail(database: Database) -> None:
    registry = CollectorRegistry()
    async with mail_server() as server:
        one = telling(database, server.port, registry=registry)
        happens(database, "SCE1", ago=timedelta(seconds=40))
        happens(database, "SCE1", "released", ago=timedelta(seconds=20))
        await one.look()
        assert server.told == []
        waiting = registry.get_sample_value("claimbus_mail_waiting_seconds")
        assert waiting is not None
        assert 40 <= waiting < 60
        one._gather = timedelta(seconds=40)
        await one.look()
        await one.look()
    assert server.told == ["eve@edison.example"]
    assert registry.get_sample_value("claimbus_mails_total", {"outcome": "sent"}) == 1


async def test_an_organisation_without_contacts_holds_nobody_up(database: Database) -> None:
    async with mail_server() as server:
        happens(database, "TIDC")
        await telling(database, server.port).look()
        assert at_rest(database)()
    assert server.told == []


async def test_a_certificate_that_nears_its_end_is_told(database: Database) -> None:
    after = {"participants": ["SCE1"], "title": "Your client certificate ends", "text": "Renew it."}
    act = Act("portal", at=datetime.now(UTC) - LONG_AGO)
    with database.transaction() as sql:
        audit.append(sql, act, "told", Subject("certificate notice", "x"), after=after)
    async with mail_server() as server:
        await telling(database, server.port).look()
    ((to, message),) = server.mails
    assert (to, message["Subject"]) == ("eve@edison.example", "[test] Your client certificate ends")


async def test_a_server_that_is_away_is_tried_until_it_is_back(database: Database) -> None:
    async with mail_server() as server:
        pass
    happens(database, "SCE1")
    registry = CollectorRegistry()
    one = telling(database, server.port, registry=registry)

    def failed() -> bool:
        return (registry.get_sample_value("claimbus_mails_total", {"outcome": "failed"}) or 0) >= 3

    with structlog.testing.capture_logs() as logs:
        async with running(one):
            await eventually(failed)
            async with mail_server(server):
                await eventually(at_rest(database))
    assert server.told == ["eve@edison.example"]
    assert "Connection refused" in logs[0]["reason"]
    pauses = [line["next"] for line in logs if line["event"] == "contacts not told"]
    assert len(pauses) >= 3


async def test_pauses_grow_while_the_server_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mail_server() as server:
        pass
    happens(database, "SCE1")
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 16:
            raise asyncio.CancelledError

    monkeypatch.setattr("asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await telling(database, server.port).run()
    assert slept == [min(0.02 * 2**number, 300) for number in range(1, 17)]


async def test_an_address_that_is_refused_is_passed_over(database: Database) -> None:
    happens(database, "PGAE")
    registry = CollectorRegistry()
    with structlog.testing.capture_logs() as logs:
        async with mail_server(MailServer(refused={"jane@pacific.example": "550 gone"})) as server:
            await telling(database, server.port, registry=registry).look()
    assert server.told == ["john@pacific.example"]
    assert at_rest(database)()
    (line,) = (line for line in logs if line["event"] == "contact not told")
    assert (line["contact"], line["reason"]) == ("jane@pacific.example", "550 gone")
    assert registry.get_sample_value("claimbus_mails_total", {"outcome": "refused"}) == 1


async def test_an_address_that_is_refused_for_now_delays_nobody_and_is_told_later(database: Database) -> None:
    happens(database, "PGAE")
    async with mail_server(MailServer(refused={"jane@pacific.example": "450 later"})) as server:
        one = telling(database, server.port)
        await one.look()
        assert server.told == ["john@pacific.example"]
        happens(database, "SCE1")
        happens(database, "PGAE", "released")
        await one.look()
        assert sorted(server.told[1:]) == ["eve@edison.example", "john@pacific.example"]
        assert not at_rest(database)()
        server.refused.clear()
        long_ago = datetime.now(UTC) - timedelta(minutes=1)
        one._delays["jane@pacific.example"] = Delay(long_ago, long_ago)
        await one.look()
    assert server.told[3:] == ["jane@pacific.example"]
    text = server.mails[-1][1].get_content()
    assert "receives again" in text
    assert ": held, it is away" in text
    assert at_rest(database)()


async def test_an_address_that_stays_refused_for_now_is_given_up(database: Database) -> None:
    happens(database, "SCE1")
    async with mail_server(MailServer(refused={"eve@edison.example": "450 later"})) as server:
        one = telling(database, server.port)
        await one.look()
        delay = one._delays["eve@edison.example"]
        assert timedelta(seconds=30) <= delay.until - delay.since
        one._delays["eve@edison.example"] = delay._replace(until=delay.since)
        await one.look()
        assert not at_rest(database)()
        since = delay.since - contacts.PATIENCE
        one._delays["eve@edison.example"] = Delay(since, since)
        await one.look()
    assert at_rest(database)()
    assert server.told == []


async def test_of_many_processes_one_sends(database: Database) -> None:
    async with mail_server() as server:
        processes = [telling(database, server.port, name=str(number)) for number in range(4)]
        async with running(*processes):
            for count in range(1, 6):
                happens(database, "SCE1")
                await eventually(at_rest(database))
                assert len(server.told) == count
            await never(lambda: len(server.told) > 5, for_=0.2)


async def test_a_process_that_stops_leaves_its_place_to_another(database: Database) -> None:
    happens(database, "SCE1")
    async with mail_server(MailServer(refused={"eve@edison.example": "450 later"})) as server:
        async with running(one := telling(database, server.port)):
            await eventually(lambda: one._delays)
        server.refused.clear()
        await telling(database, server.port, name="two").look()
    assert server.told == ["eve@edison.example"]


async def test_whoever_lost_the_lease_sends_no_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    happens(database, "PGAE")
    async with mail_server() as server:
        one = telling(database, server.port)
        send = one._send

        async def send_and_lose(*what: object) -> None:
            await send(*what)  # type: ignore[arg-type]
            with database.transaction() as sql:
                tidings.release(sql, contacts.READER, "one")

        monkeypatch.setattr(one, "_send", send_and_lose)
        await one.look()
    assert server.told == ["jane@pacific.example"]
    assert not at_rest(database)()


KILLED = """
import asyncio, os, sys
from datetime import timedelta
from zoneinfo import ZoneInfo
from prometheus_client import CollectorRegistry
from claimbus.database import tidings
from claimbus.database.engine import Database
from claimbus.events.tls import client_context
from claimbus.mail.opening import open_post
from consumers.contacts import Contacts
from consumers.wording import Wording

def done(*_):
    print("sent", flush=True)
    sys.stdin.read()

tidings.done = done
with Database.open(sys.argv[1]) as database:
    post = open_post(sys.argv[2], sender="bus@iso.example", tls=client_context)
    wording = Wording(environment="test", portal_url="", zone=ZoneInfo("UTC"))
    asyncio.run(Contacts(database, post, wording, name="killed", registry=CollectorRegistry()).run())
"""


async def test_a_process_killed_after_sending_makes_a_duplicate_and_loses_nothing(
    database: Database, sqlite_url: str
) -> None:
    """It is killed between the last mail and the transaction that moves the place."""
    happens(database, "SCE1")
    async with mail_server() as server:
        url = f"smtp://127.0.0.1:{server.port}?tls=none"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            KILLED,
            sqlite_url,
            url,
            stdin=PIPE,
            stdout=PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        async with asyncio.timeout(30):
            while await process.stdout.readline() != b"sent\n":
                assert process.returncode is None
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        assert server.told == ["eve@edison.example"]
        one = telling(database, server.port)
        await one.look()
        assert server.told == ["eve@edison.example"]  # the lease of the dead one is still live
        with database.transaction() as sql:
            tidings.release(sql, contacts.READER, "killed")
        await one.look()
        await one.look()
    assert server.told == ["eve@edison.example"] * 2
    assert len({message["Message-ID"] for _, message in server.mails}) == 1
    assert at_rest(database)()
