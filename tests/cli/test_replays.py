"""Replays on a whole bus: what a receiver refused is delivered once it is mended."""

import asyncio
import signal
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claimbus.cli.demo.receivers import Behaviour, Receiver, Receivers
from claimbus.cli.services.server import free_ports
from tests.cli.terminal import Terminal
from tests.producers.bus import Bus, closed
from tests.waiting import eventually

if TYPE_CHECKING:
    from subprocess import Popen

REFUSES = Behaviour(kind="status", status=422)


@pytest.fixture
def shared_amqp_url(amqp_url: str) -> str:
    """A vhost for each test: the dead letters of others would be recorded too."""
    return amqp_url


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Receiver]:
    """It refuses everything, until it is mended."""
    async with Receivers.open(tmp_path) as receivers:
        yield await receivers.add("first", REFUSES)


@pytest.fixture
async def endpoint(terminal: Terminal, receiver: Receiver) -> str:
    return await terminal.subscribed(receiver)


async def listed(terminal: Terminal, *words: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await terminal.beside("deadletters", "list", *words, "--json")).json
    return found


async def died(terminal: Terminal, bus: Bus, count: int) -> list[dict[str, Any]]:
    """Publish so many events and wait until they are dead letters."""
    await bus.producer.publish_many([closed(number + 1) for number in range(count)], fresh=True)

    async def all_dead() -> list[dict[str, Any]] | None:
        found = await listed(terminal)
        return found if len(found) == count else None

    return await eventually(all_dead, every=0.2)


async def stopped(process: "Popen[str]", number: signal.Signals = signal.SIGTERM) -> tuple[str, str]:
    process.send_signal(number)
    return await asyncio.to_thread(process.communicate, timeout=30)


async def line_with(process: "Popen[str]", text: str) -> None:
    """Read what a command says until it says this."""
    assert process.stderr is not None
    while text not in (line := await asyncio.to_thread(process.stderr.readline)):
        assert line, f"it ended without {text!r}"


async def test_what_was_refused_is_delivered_to_the_mended_receiver(
    terminal: Terminal, bus: Bus, receiver: Receiver, endpoint: str
) -> None:
    with terminal.started("work") as worker:
        letters = await died(terminal, bus, 15)
        shown = (await terminal.beside("deadletters", "show", letters[0]["id"])).out
        assert shown.count(" rejected ") == 2
        assert '"market": "dam"' in shown
        await receiver.behave()
        words = ("deadletters", "replay", "--group", letters[0]["fingerprint"], "--rate", "0", "--json")
        done = (await terminal.beside(*words, "--yes", "--reason", "they mended it")).json
        assert (done["state"], done["delivered"], done["stage"], done["rate"]) == ("done", 15, 15, None)
        assert done["preflight"]["ready"] == 15
        _, err = await stopped(worker)
    assert worker.returncode == 0, err
    delivered = [one for one in receiver.received if one.answered == "204"]
    assert len({one.event["id"] for one in delivered}) == len(delivered) == 15
    assert {one["state"] for one in await listed(terminal, "--state", "any")} == {"delivered"}
    (job,) = terminal("replays", "list", "--json").json
    assert (job["id"], job["reason"], job["total"]) == (done["id"], "they mended it", 15)
    shown = terminal("replays", "list").out
    assert done["id"] in shown
    assert " waiting   sent   delivered " in shown
    assert terminal("replays", "show", done["id"][:8], "--json").json["id"] == done["id"]
    assert job["selection"] == {"group": letters[0]["fingerprint"]}
    everything = terminal("replays", "show", done["id"], "--all", "--json").json
    assert {one["state"] for one in everything["items"]} == {"delivered"}
    assert "is done already" in terminal("replays", "cancel", done["id"], code=2).err
    looks = terminal("audit", "list", "--object", letters[0]["id"], "--json").json
    assert "looked" in {one["action"] for one in looks}


async def test_a_failure_that_comes_back_pauses_a_replay_and_cancelled_letters_wait_again(
    terminal: Terminal, bus: Bus, receiver: Receiver, endpoint: str
) -> None:
    with terminal.started("work") as worker:
        await died(terminal, bus, 3)
        job = (await terminal.beside("deadletters", "replay", "--all", "--yes", "--json", code=1)).json
        assert (job["state"], job["waiting"], job["selection"]) == ("paused", 2, {"all": True})
        assert "422" in job["state_reason"]
        assert f"replay {job['id']}" in (await terminal.beside("doctor")).out
        cancelled = (await terminal.beside("replays", "cancel", job["id"], "--json")).json
        assert (cancelled["state"], cancelled["cancelled"]) == ("cancelled", 2)

        async def one_has_died_again() -> bool:
            return len(await listed(terminal, "--state", "dead again")) == 1

        await eventually(one_has_died_again, every=0.2)
        assert len(await listed(terminal)) == 3, "two that were not sent, and what the first became"
        shown = await terminal.beside("replays", "show", job["id"])
        assert "dead again" in shown.out
        await stopped(worker)


async def test_ctrl_c_leaves_a_replay_that_waits_for_somebody_to_run_it(
    terminal: Terminal, bus: Bus, receiver: Receiver, endpoint: str
) -> None:
    with terminal.started("work") as worker:
        await died(terminal, bus, 2)
        await stopped(worker)
    await receiver.behave()
    with terminal.started("deadletters", "replay", "--all", "--yes") as replaying:
        await line_with(replaying, "start 'claimbus work'")
        _, err = await stopped(replaying, signal.SIGINT)
    (job,) = terminal("replays", "list", "--json").json
    assert (replaying.returncode, job["state"]) == (130, "running")
    assert f"claimbus replays watch', 'pause' or 'cancel' {job['id']}" in err
    with terminal.started("work"):
        watched = (await terminal.beside("replays", "watch", job["id"])).out
    assert "delivered" in watched


async def test_letters_are_attended_to_without_a_worker_and_a_worker_may_leave_it(
    terminal: Terminal, bus: Bus, receiver: Receiver, endpoint: str
) -> None:
    port = free_ports(1)[0]
    with terminal.but(work_deadletters="false").started("work") as worker:
        await bus.producer.publish(closed())

        async def is_not_recorded() -> bool:
            return "nobody records them" in (await terminal.beside("doctor")).out

        await eventually(is_not_recorded, every=0.2)
        assert await listed(terminal, "--state", "any") == []
        await receiver.behave()
        with terminal.but(metrics_listen=f"127.0.0.1:{port}").started("deadletters", "attend") as attending:

            async def recorded() -> bool:
                return len(await listed(terminal)) == 1

            await eventually(recorded, every=0.2)
            metrics = await asyncio.to_thread(page, f"http://127.0.0.1:{port}/metrics")
            assert "claimbus_letters_recorded_total 1.0" in metrics
            done = await terminal.beside("deadletters", "replay", "--endpoint", endpoint, "--yes")
            assert "delivered" in done.out
            _, err = await stopped(attending)
            assert attending.returncode == 0, err
        await stopped(worker)


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())
