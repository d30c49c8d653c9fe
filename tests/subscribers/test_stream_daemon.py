"""``claimbus subscribe`` as its users run it: a process of its own, over TLS, stopped and killed."""

import asyncio
import json
import os
import random
import signal
import stat
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from claimbus.events.stream import CloseCode, Delivery
from tests.subscribers.portals import (
    ENDPOINT,
    Bodies,
    Portal,
    an_event,
    numbers,
)
from tests.waiting import eventually


@pytest.fixture
async def portal(certificates: Path) -> AsyncIterator[Portal]:
    portal = Portal(certificates)
    async with portal.listening():
        yield portal


async def start(portal: Portal, *options: str | Path) -> Process:
    """Start a daemon, with its log in ``standard error``."""
    where = ("--url", portal.url, "--endpoint", ENDPOINT, "--log-format", "json")
    identity = ("--cert", portal.certificates / "client.pem", "--ca", portal.certificates / "ca.pem")
    command = (sys.executable, "-m", "claimbus", "subscribe", *where, *identity, *options)
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)


@asynccontextmanager
async def running(portal: Portal, *options: str | Path) -> AsyncIterator[Process]:
    """A daemon that is killed at the end, if it has not ended."""
    daemon = await start(portal, *options)
    try:
        yield daemon
    finally:
        if daemon.returncode is None:
            daemon.kill()
        await daemon.communicate()


async def stopped(daemon: Process) -> tuple[int, str]:
    """Stop a daemon as systemd does; its exit code and log."""
    daemon.terminate()
    return await ended(daemon)


async def ended(daemon: Process) -> tuple[int, str]:
    async with asyncio.timeout(20):
        _, log = await daemon.communicate()
    assert daemon.returncode is not None
    return daemon.returncode, log.decode()


def told(log: str) -> str:
    """The one line with which it ended."""
    (line,) = (line for line in log.splitlines() if line.startswith("claimbus: "))
    return line


def memory_of(daemon: Process) -> int:
    """The most bytes that it has had in memory."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def bodies_in(directory: Path) -> list[int]:
    """The numbers of the events whose body lies there."""
    return [json.loads(file.read_bytes())["number"] for file in directory.glob("evt_*.json")]


def taken_away(directory: Path) -> list[int]:
    """The numbers of the events there, of which the files are removed."""
    found = []
    for sidecar in directory.glob("evt_*.event"):
        body = directory / json.loads(sidecar.read_bytes())["body"]
        found.append(json.loads(body.read_bytes())["number"])
        body.unlink()
        sidecar.unlink()
    return found


def list_of(directory: Path, pattern: str) -> list[Path]:
    return list(directory.glob(pattern))


def has_acked(portal: Portal, count: int) -> bool:
    return len(portal.acked) >= count


async def test_each_event_lands_in_the_directory_and_is_acked(portal: Portal, tmp_path: Path) -> None:
    portal.put(*map(an_event, range(5)))
    async with running(portal, "--dir", tmp_path / "in") as daemon:
        await eventually(lambda: len(portal.acked) == 5)
        code, log = await stopped(daemon)
    assert code == 0
    assert sorted(bodies_in(tmp_path / "in")) == list(range(5))
    assert portal.closed_with == [CloseCode.DONE]
    assert "stream open" in log
    assert '"number"' not in log  # no bodies


async def test_a_command_runs_on_each_event(portal: Portal, tmp_path: Path) -> None:
    portal.put(an_event(7))
    seen = tmp_path / "seen"
    command = f"echo $CE_ID >> {seen}; cat >> {seen}"
    state = tmp_path / "state.db"
    async with running(portal, "--exec", command, "--shell", "--state", state):
        await eventually(lambda: portal.acked)
    assert seen.read_text() == 'event-7\n{"number": 7}'


async def test_an_ack_that_was_lost_brings_the_event_again_and_it_is_recognised(
    portal: Portal, tmp_path: Path
) -> None:
    portal.deaf_to = 1
    portal.put(an_event(1))
    seen = tmp_path / "seen"
    command = f"echo $CE_ID >> {seen}"
    async with running(portal, "--exec", command, "--shell", "--state", tmp_path / "s") as daemon:
        await eventually(lambda: portal.acked)
        _, log = await stopped(daemon)
    assert seen.read_text() == "event-1\n"
    assert "event duplicate" in log
    assert "connecting again" in log


async def test_a_failed_command_nacks_and_the_event_comes_again(portal: Portal, tmp_path: Path) -> None:
    portal.put(an_event(1), an_event(2))
    command = 'test "$CE_ID $CLAIMBUS_ATTEMPT" != "event-1 1"'
    async with running(portal, "--exec", command, "--shell", "--state", tmp_path / "s"):
        await eventually(lambda: len(portal.acked) == 2)
    assert portal.nacked == [("event-1", "SinkError")]
    assert numbers(portal.acked) == [2, 1]


async def test_a_kill_between_the_command_and_the_ack_repeats_that_event_alone(
    portal: Portal, tmp_path: Path
) -> None:
    portal.put(*map(an_event, range(4)))
    seen, killed = tmp_path / "seen", tmp_path / "killed"
    kill_once = f"test $CE_ID = event-1 && test ! -e {killed} && touch {killed} && kill -9 $PPID"
    options = ("--exec", f"echo $CE_ID >> {seen}; {kill_once}; true", "--shell", "--state", tmp_path / "s")
    async with running(portal, *options) as daemon:
        assert (await ended(daemon))[0] == -signal.SIGKILL
    async with running(portal, *options):
        await eventually(lambda: len(portal.acked) == 4)
    assert numbers(seen.read_text().split()) == [0, 1, 1, 2, 3]


async def test_a_directory_has_each_event_exactly_once_whatever_is_killed(
    portal: Portal, tmp_path: Path
) -> None:
    """The reader takes files away at each kill, so one that were written twice would be found twice."""
    count = 120
    portal.put(*map(an_event, range(count)))
    found: list[int] = []
    chance = random.Random(4)
    while len(portal.acked) < count:
        portal.cut_after = chance.randrange(60) if chance.random() < 0.5 else None
        async with running(portal, "--dir", tmp_path) as daemon:
            until = min(len(portal.acked) + chance.randrange(1, 60), count)
            await eventually(partial(has_acked, portal, until))
            daemon.kill()
        found += taken_away(tmp_path)
    # One more start moves out what the last kill has left on the stage.
    async with running(portal, "--dir", tmp_path):
        await eventually(lambda: not list_of(tmp_path, ".incoming/*"))
    found += bodies_in(tmp_path)
    assert sorted(found) == list(range(count))


async def test_sigterm_lets_the_event_in_work_be_finished_and_acked(portal: Portal, tmp_path: Path) -> None:
    portal.put(an_event(1), an_event(2))
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    command = f"touch {begun}; while test ! -e {go_on}; do sleep 0.05; done"
    async with running(portal, "--exec", command, "--shell", "--state", tmp_path / "s") as daemon:
        await eventually(begun.exists)
        daemon.terminate()
        go_on.touch()
        code, _ = await ended(daemon)
    assert code == 0
    assert numbers(portal.acked) == [1]
    assert portal.nacked == []
    assert portal.closed_with == [CloseCode.DONE]


def large(number: int) -> Delivery:
    """An event whose body must be fetched."""
    event = an_event(number, body=None, dataref="/v1/claims/c1")
    return replace(event, event={**event.event, "datacontenttype": "application/octet-stream"})


async def test_a_large_body_is_fetched_before_the_sink_takes_it(portal: Portal, tmp_path: Path) -> None:
    portal.bodies = Bodies(portal.certificates, os.urandom(2_000_000), breaks=deque([700_000]))
    portal.put(large(1))
    async with running(portal, "--dir", tmp_path):
        await eventually(lambda: portal.acked)
    (file,) = list_of(tmp_path, "evt_*.bin")
    assert file.read_bytes() == portal.bodies.body
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "range: bytes=700000-" in portal.bodies.heads[1]
    assert not list_of(tmp_path, ".incoming/*")
    (sidecar,) = list_of(tmp_path, "evt_*.event")
    assert json.loads(sidecar.read_bytes())["dataref"] is None


async def test_a_command_reads_a_large_body_from_its_standard_input(portal: Portal, tmp_path: Path) -> None:
    portal.bodies = Bodies(portal.certificates, os.urandom(2_000_000))
    portal.put(large(1))
    command = f"cat > {tmp_path}/body; echo ${{CE_DATAREF-none}} > {tmp_path}/dataref"
    async with running(portal, "--exec", command, "--shell", "--state", tmp_path / "s"):
        await eventually(lambda: portal.acked)
    assert (tmp_path / "body").read_bytes() == portal.bodies.body
    assert (tmp_path / "dataref").read_text() == "none\n"


async def test_the_body_of_a_duplicate_is_not_fetched(portal: Portal, tmp_path: Path) -> None:
    portal.bodies = Bodies(portal.certificates, os.urandom(2_000_000))
    portal.put(large(1), large(1))
    async with running(portal, "--dir", tmp_path):
        await eventually(lambda: len(portal.acked) == 2)
    assert len(portal.bodies.heads) == 1


async def test_a_body_that_is_gone_nacks_its_event_and_holds_nothing_up(
    portal: Portal, tmp_path: Path
) -> None:
    portal.bodies = Bodies(portal.certificates, b"", status=410)
    portal.put(large(1), an_event(2))
    async with running(portal, "--dir", tmp_path):
        await eventually(lambda: portal.acked and portal.nacked)
    assert portal.nacked[0] == ("event-1", "BodyRefusedError")
    assert bodies_in(tmp_path) == [2]


async def test_a_body_elsewhere_or_too_large_is_refused(portal: Portal, tmp_path: Path) -> None:
    portal.bodies = Bodies(portal.certificates, bytes(5001))
    portal.put(large(1), replace(large(2), dataref="https://elsewhere.example/v1/claims/c1"))
    async with running(portal, "--dir", tmp_path, "--max-body", "5000") as daemon:
        await eventually(lambda: len(portal.nacked) >= 2)
        _, log = await stopped(daemon)
    assert "more than 5000 bytes" in log
    assert "leads to https://elsewhere.example:443" in log


@pytest.mark.parametrize("sink", ["--dir", "--exec"])
async def test_a_body_of_64_mib_takes_little_memory(portal: Portal, tmp_path: Path, sink: str) -> None:
    """What it is when nothing of the size was taken: about 60 MiB."""
    portal.bodies = Bodies(portal.certificates, bytes(64 * 1024 * 1024))
    portal.put(large(1), an_event(2))
    options = [sink, tmp_path / "out" if sink == "--dir" else "true", "--state", tmp_path / "s"]
    async with running(portal, *options) as daemon:
        await eventually(lambda: len(portal.acked) == 2, within=60)
        assert memory_of(daemon) < 100 * 1024 * 1024


async def test_only_the_latest_status_of_an_outage_is_taken(portal: Portal, tmp_path: Path) -> None:
    for number, sequence in enumerate((5, 3, 6)):
        event = an_event(number)
        versioned = {**event.event, "partitionkey": "15120034", "sequence": str(sequence)}
        portal.put(replace(event, event=versioned))
    async with running(portal, "--dir", tmp_path, "--latest"):
        await eventually(lambda: len(portal.acked) == 3)
    assert sorted(bodies_in(tmp_path)) == [0, 2]


async def test_lines_go_to_standard_output_and_logs_do_not(portal: Portal, tmp_path: Path) -> None:
    portal.put(an_event(1))
    async with running(portal, "--stdout", "--state", tmp_path / "s") as daemon:
        await eventually(lambda: portal.acked)
        daemon.terminate()
        output, _ = await daemon.communicate()
    (line,) = output.splitlines()
    assert json.loads(line)["body"] == {"number": 1}


async def test_a_reader_that_is_gone_ends_it(portal: Portal, tmp_path: Path) -> None:
    async with running(portal, "--stdout", "--state", tmp_path / "s") as daemon:
        await eventually(lambda: portal.opened)
        assert daemon.stdout is not None
        daemon.stdout._transport.close()  # type: ignore[attr-defined] # there is no public way
        portal.put(an_event(1))
        code, _ = await ended(daemon)
    assert code == 1
    assert portal.acked == []


@pytest.mark.parametrize(
    ("close_with", "words"), [(4401, "not authenticated"), (4403, "no endpoint of yours"), (4410, "disabled")]
)
async def test_a_refusal_is_told_in_one_line_and_exits_with_1(
    portal: Portal, tmp_path: Path, close_with: int, words: str
) -> None:
    portal.close_with = close_with
    async with running(portal, "--dir", tmp_path) as daemon:
        code, log = await ended(daemon)
    assert code == 1
    assert words in told(log)
    assert "stream open" not in log
    assert "Traceback" not in log


async def test_a_wrong_authority_is_told_and_exits_with_1(portal: Portal, tmp_path: Path) -> None:
    async with running(portal, "--dir", tmp_path, "--ca", portal.certificates / "other-ca.pem") as daemon:
        code, log = await ended(daemon)
    assert code == 1
    assert "certificate is not trusted" in told(log)


@pytest.mark.parametrize(
    "options",
    [["--dir", "x", "--stdout"], [], ["--stdout", "--prefetch", "0"], ["--stdout", "--url", "http://x"]],
)
async def test_wrong_usage_exits_with_2(portal: Portal, options: list[str]) -> None:
    async with running(portal, *options) as daemon:
        assert (await ended(daemon))[0] == 2


async def test_a_token_is_read_from_its_file_and_never_logged(portal: Portal, tmp_path: Path) -> None:
    portal.put(an_event(1))
    (tmp_path / "token").write_text("clb_secret\n")
    options = ("--token-file", tmp_path / "token", "--dir", tmp_path / "in", "--log-level", "debug")
    async with running(portal, *options) as daemon:
        await eventually(lambda: portal.acked)
        _, log = await stopped(daemon)
    assert portal.requests[0].headers["authorization"] == "Bearer clb_secret"
    assert "clb_secret" not in log
