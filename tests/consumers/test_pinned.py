"""An HTTP client takes milliseconds to make, and nobody waits for another's."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from pyreqwest.client import Client, ClientBuilder

from claimbus.events.errors import ConfigurationError
from consumers.pinned import PinnedClient
from consumers.webhook import Webhook
from tests.consumers.house import House
from tests.consumers.webhooks import LOOPBACK, webhook
from tests.waiting import eventually


def pinned(build: Callable[[str], Client]) -> PinnedClient:
    return PinnedClient("127.0.0.1", 443, build, LOOPBACK, resolve_timeout=5.0)


def plain(_address: str) -> Client:
    return ClientBuilder().build()


async def test_the_others_go_on_while_a_client_is_made() -> None:
    going_on = threading.Event()

    def slowly(address: str) -> Client:
        assert going_on.wait(10), "the event loop stood still"
        return plain(address)

    other, slow = pinned(plain), pinned(slowly)
    known = await other.get()
    made = asyncio.create_task(slow.get())
    await asyncio.sleep(0)
    assert await other.get() is known
    going_on.set()
    assert await made is await slow.get()


async def test_who_asks_while_a_client_is_made_gets_that_one() -> None:
    made: list[str] = []

    def build(address: str) -> Client:
        made.append(address)
        return plain(address)

    client = pinned(build)
    assert len({id(one) for one in await asyncio.gather(*(client.get() for _ in range(10)))}) == 1
    assert made == ["127.0.0.1"]


async def test_who_gives_up_while_a_client_is_made_spoils_nothing() -> None:
    going_on = threading.Event()

    def slowly(address: str) -> Client:
        going_on.wait(10)
        return plain(address)

    client = pinned(slowly)
    first, second = (asyncio.create_task(client.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    going_on.set()
    assert await second is await client.get()


async def test_what_forbids_a_client_is_told_to_each_who_asks() -> None:
    def build(_address: str) -> Client:
        raise ConfigurationError("certificates", "cannot be used")

    client = pinned(build)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="certificates"):
            await client.get()


async def test_preparing_never_fails() -> None:
    for url in ("https://10.0.0.1/", "https://no-such-name.invalid/"):
        async with webhook(url) as hook:
            await hook.prepare()
    async with webhook("https://127.0.0.1/", ca_pem=b"no certificate") as hook:
        await hook.prepare()


async def test_an_endpoint_has_its_client_before_its_first_event(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[Webhook] = []
    prepare = Webhook.prepare

    async def noted(self: Webhook) -> None:
        await prepare(self)
        prepared.append(self)

    monkeypatch.setattr(Webhook, "prepare", noted)
    house.participant("AAA1")
    _, receiver = await house.endpoint("AAA1")
    await house.worker()
    await eventually(lambda: prepared)
    assert [hook._client.address for hook in prepared] == ["127.0.0.1"]
    assert receiver.connections == 0
