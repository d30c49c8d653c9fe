"""That the benchmarks run and measure what they say. Tiny sizes; what the figures are is asserted nowhere."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import limit
from benchmarks.bodies import DIFFERENT, TYPE, body, file_of_bodies, read_bodies
from benchmarks.deliver import check_arrived, deliver
from benchmarks.large import large
from benchmarks.letters import keep
from benchmarks.portal import portal
from benchmarks.publish import publish
from benchmarks.report import Result
from benchmarks.runner import PROJECT
from benchmarks.servers import BenchmarkError, room
from benchmarks.side import Delivering, Outcome
from benchmarks.sink import Sink, running_sink
from claimbus.events.catalogue import check
from claimbus.events.event import Event

PUBLISHERS = {
    "publish_claimbus": "claimbus",
    "publish_aio_pika": "aio_pika",
    "publish_faststream": "faststream",
    "publish_kombu": "kombu",
}
INSTALLED = [side for side, module in PUBLISHERS.items() if find_spec(module)]
HAS_COMPILER = shutil.which("cc") is not None and all(
    Path("/usr/include", header).exists() for header in ("amqp.h", "hiredis/hiredis.h", "openssl/ssl.h")
)
"""`./dev bench` installs the peers and the compiler. What they are needed for is not collected without them,
rather than skipped, because a skipped test counts as a failure in CI."""


def silent(_: str) -> None:
    """Hear of the progress."""


def outcomes(*rates: float) -> list[Outcome]:
    return [Outcome(count=round(rate * 2), seconds=2.0, cpu_seconds=1.0, settings={}) for rate in rates]


@pytest.mark.parametrize("size", [2048, 102400])
def test_bodies_have_their_size_and_fit_the_catalogue(size: int) -> None:
    with file_of_bodies(size) as file:
        bodies = read_bodies(file, size)
    assert len(set(bodies)) == DIFFERENT
    for whole in bodies[:3]:
        assert len(whole) == size
        check(
            Event(
                type=TYPE,
                source="//test/oms",
                id="1",
                time=datetime.now(UTC),
                body=whole,
                audience=frozenset({"PGAE"}),
            )
        )


def test_a_size_that_holds_no_outage_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 100 bytes"):
        body(0, 100)


def test_a_ratio_is_the_median_of_each_rounds_own() -> None:
    result = Result(
        "publish",
        "events/s",
        2048,
        "publish_claimbus",
        {
            "publish_claimbus": outcomes(100, 10, 300),
            "publish_fast": outcomes(200, 5, 100),
            "publish_slow": outcomes(1, 1, 1),
        },
        {"vs_best_peer": ("publish_slow", "publish_fast"), "vs_limit": ("publish_limit",)},
    )
    assert result.ratios() == {"vs_best_peer": 2.0, "vs_limit": None, "vs_fast": 2.0, "vs_slow": 100.0}


@pytest.mark.parametrize("side", INSTALLED)
def test_a_publishing_side_brings_every_event_to_the_queue(side: str) -> None:
    result = publish(size=2048, seconds=60, events=40, window=7, repeat=1, sides=[side], progress=silent)
    (outcome,) = result.outcomes[side]
    assert outcome.count == 40
    assert outcome.settings["window"] == 7


def test_every_letter_is_recorded_and_replayed() -> None:
    kept = keep(letters=60, size=2048, endpoints=3, window=8, progress=silent)
    assert {step: kept.outcomes[step].count for step in ("record", "publish", "replay")} == {
        "record": 60,
        "publish": 60,
        "replay": 60,
    }
    assert kept.document()["ratios"].keys() == {"replay_vs_publish"}


def test_the_portal_gives_every_claim_and_every_frame() -> None:
    for result in portal(size=2048, count=40, window=8, repeat=1, progress=silent):
        assert {side: rounds[0].count for side, rounds in result.outcomes.items()} == {
            "portal_claimbus": 40,
            "portal_bare": 40,
        }
        assert result.ratios().keys() == {"vs_bare"}


def test_the_last_line_is_json_with_the_ratios() -> None:
    words = ["publish", "--json", "--events=20", "--repeat=1", "--bodies=2048", "--sides=publish_claimbus"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["name"] == "publish"
    assert said["ratios"] == {"vs_limit": None, "vs_best_peer": None}
    assert said["sides"]["claimbus"]["settings"]["window"] == 256


def test_without_servers_it_says_in_one_line_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "publish", "--sides=publish_claimbus"],
        cwd=PROJECT,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert (
        done.stderr.strip() == "benchmarks: CLAIMBUS_AMQP_URL is not set: run the benchmark with ./dev bench"
    )


class TestInC:
    """What needs the C compiler."""

    __test__ = HAS_COMPILER

    @pytest.fixture
    def sink(self, tmp_path: Path) -> Iterator[Sink]:
        with running_sink(limit.compiled("sink", tmp_path), paths=2) as sink:
            yield sink

    def test_the_limit_brings_every_event_to_the_queue(self) -> None:
        result = publish(
            size=2048, seconds=60, events=500, window=50, repeat=1, sides=["publish_limit"], progress=silent
        )
        assert result.outcomes["publish_limit"][0].count == 500

    @pytest.mark.parametrize("tls", [False, True])
    def test_every_side_delivers_each_event_once_to_each_endpoint(self, tls: bool) -> None:
        sides = ["deliver_claimbus", "deliver_bare"]
        if "publish_aio_pika" in INSTALLED and find_spec("aiohttp"):
            sides.append("deliver_aio_pika")
        result = deliver(
            size=2048,
            events=4,
            endpoints=3,
            prefetch=8,
            window=4,
            tls=tls,
            repeat=1,
            sides=sides,
            progress=silent,
        )
        assert {side: rounds[0].count for side, rounds in result.outcomes.items()} == dict.fromkeys(sides, 12)

    def test_a_figure_is_void_when_a_delivery_is_missing(self, sink: Sink) -> None:
        order = Delivering(
            sink=sink.url,
            authority=None,
            endpoints=2,
            events=1,
            bodies="",
            size=2048,
            prefetch=8,
            key_prefix="",
            database="",
        )
        with room() as servers, pytest.raises(BenchmarkError, match="delivered 0 to 0 of 1 events"):
            check_arrived("deliver_nothing", order, sink, servers)

    async def test_the_sink_counts_whole_requests_however_they_are_cut(self, sink: Sink) -> None:
        requests = (
            b"POST /0 HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello"
            b"POST /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"
            b"POST /2 HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", int(sink.url.rpartition(":")[2]))
        for start in range(0, len(requests), 7):
            writer.write(requests[start : start + 7])
            await writer.drain()
            await asyncio.sleep(0)
        statuses = [(await reader.readuntil(b"\r\n\r\n")).split()[1] for _ in range(3)]
        writer.close()
        await writer.wait_closed()
        assert statuses == [b"204", b"204", b"404"]
        tally = sink.tally()
        assert (tally.counts, tally.bytes) == ((1, 1), 18)

    def test_large_bodies_are_published_and_delivered_whole(self) -> None:
        growth = large(size=3 << 20, events=1, endpoints=2, prefetch=8, progress=silent)
        assert growth.document()["grown_mib"].keys() == {"producer", "worker"}
