"""Killed at every point that matters: ``--dir`` exactly once, ``--exec`` with one repeat a kill at most."""

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from pyreqwest.client import Client

from tests.subscribers.daemon import post, receiving, sender
from tests.subscribers.sender import an_event, received
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
LAST = 6


def run(folder: Path, sink: str, point: str = "never", nth: int = 0, first: int = 1) -> list[int]:
    """Let a receiver run until it dies, or through to the last event; returns the numbers that it acked."""
    words = ["-m", "tests.subscribers.dying", folder, sink, first, LAST, point, nth]
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == (0 if point == "never" else -signal.SIGKILL), done.stderr
    return [int(line) for line in done.stdout.split()]


class Consumer:
    """Takes events out of a directory as soon as it sees their sidecars."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.got: Counter[str] = Counter()

    def consume(self) -> None:
        for sidecar in self._directory.glob("*.event"):
            found = json.loads(sidecar.read_bytes())
            body = self._directory / found["body"]
            event = received(int(found["event"]["id"].removeprefix("event-")))
            assert body.read_bytes() == event.body
            self.got[event.id] += 1
            body.unlink()
            sidecar.unlink()

    def left(self) -> list[str]:
        return [file.name for file in self._directory.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("point", "nth"),  # at the third event, of two files each
    [
        ("half of a file is written", 5),
        ("half of a file is written", 6),
        ("before the note", 3),
        ("after the note", 3),
        ("after a move", 5),
        ("after a move", 6),
    ],
)
def test_a_directory_has_each_event_exactly_once_wherever_it_is_killed(
    tmp_path: Path, point: str, nth: int
) -> None:
    consumer = Consumer(tmp_path / "out")
    assert run(tmp_path, "dir", point, nth) == [1, 2]
    consumer.consume()
    run(tmp_path, "dir", first=LAST + 1)  # only what is done at the start
    consumer.consume()
    assert 5 not in run(tmp_path, "dir", point, 2, first=3)  # killed once more before it came that far
    consumer.consume()
    run(tmp_path, "dir")  # all come again
    consumer.consume()
    assert consumer.got == {f"event-{number}": 1 for number in range(1, LAST + 1)}
    assert consumer.left() == []


@pytest.mark.parametrize(("point", "runs"), [("before the note", 2), ("after the note", 1)])
def test_a_command_runs_once_more_for_the_event_in_work_and_for_no_other(
    tmp_path: Path, point: str, runs: int
) -> None:
    assert run(tmp_path, "exec", point, 3) == [1, 2]
    run(tmp_path, "exec")
    ran = Counter((tmp_path / "ran").read_text().split())
    assert ran.pop("event-3") == runs
    assert ran == {f"event-{number}": 1 for number in (1, 2, 4, 5, 6)}


async def test_a_receiver_killed_again_and_again_has_each_event_once(
    certificates: Path, tmp_path: Path
) -> None:
    consumer = Consumer(tmp_path / "out")
    acked: set[int] = set()
    for kill_after in (20, 50, 90, 140, 200):
        with receiving(certificates, tmp_path, "--dir", "out", "--state", "taken.db") as daemon:
            async with sender(certificates) as iso:
                left = [number for number in range(200) if number not in acked]
                posting = asyncio.gather(
                    *(_deliver(iso, daemon.url, left[lane::8], acked) for lane in range(8)),
                    return_exceptions=True,
                )
                await eventually(partial(_has, acked, kill_after), every=0.001)
                daemon.end(signal.SIGKILL)
                await posting
        consumer.consume()
    with receiving(certificates, tmp_path, "--dir", "out", "--state", "taken.db") as daemon:
        daemon.end()
    consumer.consume()
    assert consumer.got == {f"event-{number}": 1 for number in range(200)}
    assert consumer.left() == []


async def _deliver(iso: Client, url: str, numbers: list[int], acked: set[int]) -> None:
    for number in numbers:
        if await post(iso, url, an_event(number)) == 204:
            acked.add(number)


def _has(acked: set[int], count: int) -> bool:
    return len(acked) >= count
