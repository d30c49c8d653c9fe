"""``claimbus recover`` and ``deadletters reconcile``: what an endpoint missed, and if it is all there."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from claimbus.cli.demo.receivers import Receiver, Receivers
from tests.cli.terminal import Terminal
from tests.producers.bus import Bus, closed
from tests.waiting import eventually


@pytest.fixture
def shared_amqp_url(amqp_url: str) -> str:
    """A vhost for each test: its journal has nothing of others."""
    return amqp_url


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Receiver]:
    async with Receivers.open(tmp_path) as receivers:
        yield await receivers.add("first")


async def publish(bus: Bus, *numbers: int) -> None:
    await bus.producer.publish_many([closed(number) for number in numbers], fresh=True)


async def test_what_was_published_before_an_endpoint_was_there_is_recovered(
    terminal: Terminal, bus: Bus, receiver: Receiver
) -> None:
    await publish(bus, *range(1, 25))
    endpoint = await terminal.subscribed(receiver)
    words = ("recover", "--endpoint", endpoint, "--since", "10m")
    dry = (await terminal.beside(*words, "--dry-run", "--json")).json
    assert (dry["redelivered"], dry["dry_run"]) == (24, True)
    assert dry["recovery"].startswith("rc_")
    assert [one["type"] for one in dry["events"]] == ["market.dam.closed"] * 20
    told = await terminal.beside(*words, "--dry-run")
    assert "would be redelivered  24" in told.out
    assert "and 4 more" in told.err
    assert all(one["message_id"] in told.out for one in dry["events"])
    assert f"the journal begins at {dry['journal_begins']}" in told.err
    refused = ("recover", "--endpoint", endpoint, "--since", "in 1h")
    assert "is in the future" in (await terminal.beside(*refused, code=2)).err
    assert "--yes: nobody can be asked" in (await terminal.beside(*words, code=2)).err
    with terminal.started("work") as worker:
        recovered = (await terminal.beside(*words, "--yes", "--actor", "jane", "--json")).json
        assert (recovered["redelivered"], recovered["dry_run"]) == (24, False)

        async def all_settled() -> bool:
            found = (await terminal.beside(*words, "--dry-run", "--json")).json
            return bool(found["settled"] == 24 and found["redelivered"] == 0)

        await eventually(all_settled, every=0.2)
        assert len(receiver.received) == 24
        assert (await terminal.beside(*words, "--type", "oms.#", "--all", "--yes", "--json")).json[
            "concerning"
        ] == 0
        assert "redelivered" in (await terminal.beside(*words, "--all", "--yes", "--rate", "0")).out
        await eventually(lambda: len(receiver.received) == 48)
        worker.terminate()
        await asyncio.to_thread(worker.communicate, timeout=30)
    entries = terminal("audit", "list", "--object", endpoint, "--actor", "jane", "--json").json
    assert "recovered" in {one["action"] for one in entries}


async def test_every_delivery_is_accounted_for_and_settled_once_nothing_waits(
    terminal: Terminal, bus: Bus, receiver: Receiver
) -> None:
    endpoint = await terminal.subscribed(receiver)
    words = ("deadletters", "reconcile")
    numbers = count(1)

    async def two_are_expected() -> dict[str, Any] | None:
        """What is published while an endpoint is being bound may have come too early: it is doubtful."""
        await publish(bus, next(numbers))
        found = (await terminal.beside(*words, "--within", "0s", "--limit", "1", "--json")).json
        return found if found["expected"] >= 2 else None

    found = await eventually(two_are_expected)
    assert (found["settled"], found["complete"]) == (False, True)
    assert (len(found["open"]), found["open_in_all"]) == (1, found["expected"])
    assert found["open"][0]["endpoint_id"] == endpoint
    told = (await terminal.beside(*words, "--within", "0s")).out
    assert f"{found['expected']} of {endpoint}" in told
    with terminal.started("work") as worker:
        await eventually(lambda: len(receiver.received) == found["expected"] + found["doubtful"])
        complete = (await terminal.beside(*words, "--json")).json
        assert (complete["settled"], complete["delivered"], complete["open"]) == (
            True,
            found["expected"],
            [],
        )
        worker.terminate()
        await asyncio.to_thread(worker.communicate, timeout=30)
    assert "complete      yes" in (await terminal.beside(*words, "--since", "1h")).out
    assert "later" in (await terminal.beside(*words, "--since", "1h", "--until", "2h", code=2)).err
