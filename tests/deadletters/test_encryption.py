"""An encrypted bus from end to end: nothing of a body lies anywhere, and no change of keys loses one."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from claimbus.broker import journal
from claimbus.cli.demo.receivers import Behaviour
from claimbus.cli.settings import Settings
from claimbus.cli.wiring import Wiring
from claimbus.deadletters.recover import Recovery
from claimbus.events.catalogue import lookup
from claimbus.events.event import ALL, Event
from claimbus.events.sealing import KeyMissingError
from tests.claimstore.samples import keys
from tests.consumers.house import ACT, House, open_house
from tests.deadletters.backlog import give_up, recorded, recording, waits
from tests.deadletters.stage import LIFE, Stage
from tests.deadletters.tickets import ago, publish, take
from tests.events.keys import NEW, OLD
from tests.services import management
from tests.waiting import eventually, never

HIDDEN = b"NOBODY MAY READ THIS", b"SUNRIV_2_UNIT 1"
BEFORE, AFTER = SecretStr(OLD), SecretStr(f"{NEW},{OLD}")


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(journal, "NEXT", 0.3)
    return settings.model_copy(update={"encryption_keys": BEFORE})


@asynccontextmanager
async def reopened(settings: Settings, directory: Path, with_keys: SecretStr) -> AsyncIterator[House]:
    """The same bus, as processes see it that were started with other keys."""
    changed = settings.model_copy(update={"encryption_keys": with_keys})
    async with open_house(changed, directory) as house:
        yield house


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory for the receivers of a second house."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    return directory


def a_notice(house: House) -> Event:
    body = lookup("system.notice.published").example | {"text": HIDDEN[0].decode()}
    event = house.producer.event("system.notice.published", json.dumps(body).encode(), audience=ALL)
    return replace(event, subject=HIDDEN[1].decode())


async def in_redis(house: House) -> bytes:
    """All that Redis has of the bus: keys, values and fields."""
    connection, found = house.store.connection, bytearray()
    readers: dict[bytes, tuple[str, tuple[int, ...]]] = {
        b"string": ("GET", ()),
        b"hash": ("HGETALL", ()),
        b"set": ("SMEMBERS", ()),
        b"zset": ("ZRANGE", (0, -1)),
    }
    for key in await keys(connection):
        command, arguments = readers[await connection.ask("TYPE", key)]
        found += key + repr(await connection.ask(command, key, *arguments)).encode()
    return bytes(found)


def on_disk(directory: Path) -> bytes:
    """The database's file, and what SQLite keeps beside it."""
    return b"".join(path.read_bytes() for path in directory.glob("claimbus.db*"))


def in_rabbitmq(settings: Settings) -> str:
    """All messages that lie in the vhost's classic and quorum queues."""
    vhost = settings.amqp_url.rpartition("/")[2]
    found: Any = management("GET", f"/queues/{vhost}")
    asked = {"count": 1000, "ackmode": "ack_requeue_true", "encoding": "auto"}
    taken = [
        management("POST", f"/queues/{vhost}/{queue['name']}/get", asked)
        for queue in found
        if queue["type"] == "quorum"
    ]
    return json.dumps(taken)


async def test_nothing_of_a_body_lies_in_redis_rabbitmq_or_the_database(
    house: House, settings: Settings, tmp_path: Path
) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1", behaviour=Behaviour(kind="status", status=422))
    await house.worker()
    event = a_notice(house)
    await house.producer.publish(event)
    await eventually(lambda: waits(house, 1))
    assert receiver.received[0].verified
    assert HIDDEN[0] in (receiver.received[0].body or b"")
    in_queues = in_rabbitmq(settings)
    async with recording(house):
        (letter,) = await eventually(lambda: recorded(house, at_least=1))
    assert letter.message_id == event.identity
    assert event.identity in in_queues
    redis = await in_redis(house)
    assert f"{house.store.connection.prefix}claim:{{{letter.claim_id}}}".encode() in redis
    files = on_disk(tmp_path)
    assert event.identity.encode() in files
    secret = endpoint.secrets[0].value.encode()
    for hidden in (*HIDDEN, secret, secret.removeprefix(b"whsec_")):
        for place in (in_queues.encode(), redis, files):
            assert hidden not in place


async def test_what_died_before_a_rotation_is_replayed_after_it(
    house: House, settings: Settings, elsewhere: Path
) -> None:
    house.participant("AAA1")
    stage = Stage(house.database, house.store, house.holds, house)
    _, receiver = await house.endpoint("AAA1", behaviour=Behaviour(kind="status", status=422))
    await house.worker()
    events = [a_notice(house) for _ in range(3)]
    for event in events:
        await house.producer.publish(event)
    async with recording(house):
        letters = await eventually(lambda: recorded(house, at_least=3))
    await house.stop_workers()
    await stage.forget(letters[0].claim_id)
    await receiver.behave()
    receiver.received.clear()
    async with reopened(settings, elsewhere, AFTER) as after:
        replaying = Stage(after.database, after.store, after.holds, after)
        await after.worker()
        job = await replaying.replay(letters)
        async with replaying.running():
            await eventually(lambda: replaying.is_in(job, "done"))
        assert await replaying.states(letters) == ["delivered"] * 3
    assert {one.event["id"]: one.body for one in receiver.received} == {one.id: one.body for one in events}
    assert all(one.verified for one in receiver.received)


async def test_what_was_published_before_a_rotation_is_recovered_after_it(
    house: House, settings: Settings, elsewhere: Path
) -> None:
    house.participant("AAA1")
    endpoint, receiver = await house.endpoint("AAA1")
    events = [a_notice(house) for _ in range(3)]
    for event in events:
        await house.producer.publish(event)
    await take(house, endpoint, 3)
    async with reopened(settings, elsewhere, AFTER) as after:
        recovery = Recovery(after.database, after.store, after.connection, after.publisher, claim_life=LIFE)
        recovered = await recovery.run(endpoint.id, ago(hours=1), rate=None, act=ACT)
        assert (recovered.redelivered, recovered.gone) == (3, 0)
        await after.worker()
        await eventually(lambda: len(receiver.received) == 3)
    assert Counter(one.event["id"] for one in receiver.received) == Counter(one.id for one in events)


async def test_a_worker_without_the_key_keeps_the_delivery_until_it_has_it(
    settings: Settings, elsewhere: Path
) -> None:
    async with reopened(settings, elsewhere, SecretStr("")) as house:
        house.participant("AAA1")
        endpoint, receiver = await house.endpoint("AAA1")
        await house.worker()
        async with Wiring(settings) as with_keys:
            event = a_notice(house)
            await publish(house, event, store=await with_keys.store())

        async def anything_became_of_it() -> bool:
            return bool(receiver.received or await house.attempts(endpoint) or await house.letters(1))

        await never(lambda: receiver.received, for_=1.5)
        assert not await anything_became_of_it()
        await house.stop_workers()
        await house.worker(encryption_keys=BEFORE)
        await eventually(lambda: house.attempts_when(endpoint, 1))
        assert [one.body for one in receiver.received] == [event.body]


async def test_letters_wait_for_a_recorder_that_has_the_key(
    house: House, settings: Settings, elsewhere: Path
) -> None:
    await give_up(house)
    async with reopened(settings, elsewhere, SecretStr(NEW)) as without:
        with capture_logs() as logs:
            async with recording(without):
                await eventually(lambda: any(one["event"] == "letters wait" for one in logs))
        assert not await recorded(house)
    async with recording(house):
        await eventually(lambda: recorded(house, at_least=1))


async def test_a_worker_that_cannot_read_the_secrets_does_not_start(house: House) -> None:
    house.participant("AAA1")
    endpoint, _ = await house.endpoint("AAA1")
    with pytest.raises(KeyMissingError, match=f"endpoint {endpoint.id} is encrypted with key old"):
        await house.worker(encryption_keys=SecretStr(NEW))
    house.workers.clear()
