"""That the benchmarks run and measure what they say. Tiny sizes; what the figures are is asserted nowhere."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
from starlette.routing import Match

from benchmarks import deliver as delivering
from benchmarks import limit
from benchmarks import portal as asking
from benchmarks import publish as publishing
from benchmarks.bodies import DIFFERENT, TYPE, body, file_of_bodies, read_bodies
from benchmarks.chart import Bar, bars, lines
from benchmarks.comparison import Result
from benchmarks.deliver import check_arrived, deliver
from benchmarks.durability import durability
from benchmarks.fan import fan
from benchmarks.growth import COSTS, FILLED, Size, growth, judged
from benchmarks.isolation import isolation
from benchmarks.large import large
from benchmarks.latency import latency
from benchmarks.letters import keep
from benchmarks.pages import DATABASES, LEFT_OUT, PAGES, Seed, pages
from benchmarks.portal import portal
from benchmarks.publish import publish
from benchmarks.reconcile import reconcile
from benchmarks.report import Report, Sheet, Target
from benchmarks.rows import RECORD
from benchmarks.runner import PROJECT, run_side
from benchmarks.servers import BenchmarkError, room
from benchmarks.side import Delivering, Filling, Outcome
from benchmarks.sink import Sink, running_sink
from benchmarks.sizes import ROWS, THINGS, sizes
from benchmarks.spread import Spread
from benchmarks.writing import markdown, write
from claimbus.events.catalogue import check
from claimbus.events.event import Event
from claimbus.portal.app import ROUTERS
from claimbus.portal.pages.routes import PageRoute

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
    assert "targets" in publishing.report([result]).json()


def test_every_letter_is_recorded_and_replayed() -> None:
    kept = keep(letters=60, size=2048, endpoints=3, window=8, progress=silent)
    assert {step: kept.outcomes[step].count for step in ("record", "publish", "replay")} == {
        "record": 60,
        "publish": 60,
        "replay": 60,
    }
    assert kept.document()["ratios"].keys() == {"replay_vs_publish"}
    ElementTree.fromstring(kept.report().chart)


def test_the_portal_gives_every_claim_and_every_frame() -> None:
    results = portal(size=2048, count=40, window=8, repeat=1, progress=silent)
    assert len(asking.report(results).targets) == 2
    for result in results:
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


def test_several_are_run_one_after_another_and_written_down(tmp_path: Path) -> None:
    one = ["publish", "--events=20", "--repeat=1", "--bodies=2048", "--sides=publish_claimbus"]
    (tmp_path / "performance.md").write_text("before\n<!-- bench:publish -->\nold\n<!-- /bench:publish -->\n")
    words = ["--json", f"--write={tmp_path}", *one, *one]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert [one["name"] for one in json.loads(done.stdout.splitlines()[-1])["benchmarks"]] == ["publish"] * 2
    ElementTree.parse(tmp_path / "pictures" / "bench-publish.svg")
    page = (tmp_path / "performance.md").read_text()
    assert page.startswith("before\n<!-- bench:publish -->\n")
    assert "| claimbus |" in page
    assert "old" not in page


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


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (Target("", 2.0, 2.0), "met"),
        (Target("", 2.0, 1.9), "missed"),
        (Target("", 2.0, 2.1, at_most=True), "missed"),
        (Target("", 2.0, None), "not measured"),
    ],
)
def test_a_target_is_met_or_missed(target: Target, verdict: str) -> None:
    assert target.verdict == verdict


def test_a_percentile_is_the_least_below_which_so_many_lie() -> None:
    assert Spread.of([number * 1_000_000 for number in range(1000, 0, -1)]) == Spread(500, 990, 999)


def test_sides_that_differ_in_their_window_are_not_compared() -> None:
    pair = {
        f"publish_{window}": [Outcome(count=1, seconds=1, cpu_seconds=1, settings={"window": window})]
        for window in (1, 2)
    }
    result = Result("publish", "events/s", 2048, "publish_1", pair, {})
    with pytest.raises(BenchmarkError, match="differ in window"):
        result.check_alike(("publish_1", "publish_2"))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((10, 11, 14), "flat"),
        ((1, 2, 3.5), "flat"),  # milliseconds, and so noise
        ((10, 20, 110), "linear"),
        ((10, 60, 70), "less than linear"),
        ((10, 100), "grows"),
        ((None, None), ""),
    ],
)
def test_growth_is_judged_by_what_the_last_of_what_is_added_costs(
    values: tuple[float | None, ...], verdict: str
) -> None:
    sizes = [Size(count, {"publish ms": value}) for count, value in zip((0, 10, 100), values, strict=False)]
    assert judged(sizes, "publish ms") == verdict


def test_charts_are_well_formed_whatever_their_words() -> None:
    odd = 'a < b & "c"'
    for chart in (
        bars(
            odd, odd, [Bar(odd, 0.0), Bar(odd, 123.4, 2.0), Bar(odd, 1.0, 2.0), Bar(odd, 3, 1, at_most=True)]
        ),
        bars(odd, odd, []),
        lines(odd, odd, odd, {odd: [(1, 2), (10, 0)], "other": []}),
        lines(odd, odd, odd, {}),
    ):
        root = ElementTree.fromstring(chart)
        assert root[0].text == odd
        assert "prefers-color-scheme: dark" in chart
    kinds = [
        one.get("class")
        for one in ElementTree.fromstring(bars("", "", [Bar("", 1, 2), Bar("", 2, 2)])).iter()
    ]
    assert (kinds.count("missed"), kinds.count("bar"), kinds.count("target")) == (1, 1, 2)


def test_a_section_of_the_page_is_renewed_and_the_rest_stays(tmp_path: Path) -> None:
    report = Report(
        name="one",
        sheets=[Sheet("a table", ("side", "a second"), [("ours", 1234.0), ("theirs", None)])],
        chart="<svg/>",
        targets=[Target("ours ÷ theirs", 2.0, 2.5)],
    )
    other = "<!-- bench:other -->kept<!-- /bench:other -->"
    page = tmp_path / "performance.md"
    page.write_text(f"above\n<!-- bench:one -->\nold\n<!-- /bench:one -->\n{other}\n")
    place: dict[str, str | int] = {"processors": 2}
    for _ in range(2):
        write(report, tmp_path, place)
    assert page.read_text() == (
        f"above\n<!-- bench:one -->\n\n{markdown(report, place)}\n<!-- /bench:one -->\n{other}\n"
    )
    assert "| ours | 1,234 |\n| theirs |  |" in page.read_text()
    assert (tmp_path / "figures" / "one.csv").read_text() == (
        "table,row,column,value\na table,ours,a second,1234.0\na table,theirs,a second,\n"
        "targets,ours ÷ theirs,to reach,at least 2\ntargets,ours ÷ theirs,measured,2.5\n"
        "targets,ours ÷ theirs,verdict,met\n"
    )


def test_each_choice_of_durability_has_its_ratio_or_the_reason_why_not() -> None:
    report = durability(size=2048, events=20, rows=20, window=8, repeat=1, progress=silent)
    assert len(report.sheets) + len([note for note in report.notes if "not run" in note]) == 3
    ElementTree.fromstring(report.chart)


@pytest.mark.parametrize("what", ["tickets", "claims"])
def test_what_growth_is_measured_against_is_there(what: str, tmp_path: Path) -> None:
    with room() as servers:
        order = Filling(
            sink="http://127.0.0.1:1",
            authority=None,
            endpoints=1,
            events=0,
            bodies="",
            size=2048,
            prefetch=8,
            key_prefix=servers.key_prefix,
            database=str(tmp_path / "claimbus.db"),
            what=what,
            count=30,
        )
        run_side("fill", order, servers)
        found = servers.clear_claims() if what == "claims" else servers.purge(servers.queues("endpoint."))
    assert found == 30


def test_one_event_to_many_queues_is_timed_and_so_are_the_ends() -> None:
    report = fan(queues=[1, 3], seconds=0.2, progress=silent)
    assert [row[0] for row in report.sheets[0].rows] == ["1", "3"]
    assert len(report.sheets[1].rows) == 4
    assert report.document["to_all"].keys() == {1, 3}
    ElementTree.fromstring(report.chart)


def test_one_more_of_each_takes_bytes_where_it_is_kept() -> None:
    report = sizes(count=300, progress=silent, things=THINGS[:1], rows_of=ROWS[-1:], databases=DATABASES[:1])
    taken = report.document["bytes"]
    assert set(taken) == {
        "claim of 2 KB: Redis memory",
        "claim of 2 KB: Redis file",
        "its body, SQLite: database",
    }
    assert taken["its body, SQLite: database"] > RECORD
    ElementTree.fromstring(report.chart)


def test_an_account_of_all_deliveries_is_timed() -> None:
    report = reconcile(deliveries=40, endpoints=[2], window=8, progress=silent)
    assert report.sheets[0].rows[0][:3] == ("2", 20, 40)
    ElementTree.fromstring(report.chart)


def test_every_page_is_asked_for_and_answers() -> None:
    seed = Seed(participants=2, endpoints=3, attempts=200, letters=50)
    report = pages(seed=seed, repeat=2, databases=["SQLite"], progress=silent)
    assert report.notes == []
    assert {row[0] for row in report.sheets[0].rows} == {name for name, _, _ in PAGES}
    ElementTree.fromstring(report.chart)


def test_no_page_of_the_portal_is_forgotten() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, PageRoute)]
    there = {route.path for route in routes if "GET" in (route.methods or ())}
    assert set(LEFT_OUT) <= there
    asked = {
        _route_of(path.partition("?")[0], routes) for _, _, path in PAGES if not path.startswith("POST ")
    }
    assert asked == there - set(LEFT_OUT)


def _route_of(path: str, routes: list[PageRoute]) -> str:
    """Return the path of the route that a browser would come to."""
    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    return next(one.path for one in routes if one.matches(scope)[0] is Match.FULL)


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
        (reads,) = [one for one in delivering.report({3: result}).targets if one.at_most]
        assert (reads.measured or 0) >= 1

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

    async def test_the_sink_notes_who_came_and_when_but_not_those_in_trouble(self, tmp_path: Path) -> None:
        with running_sink(limit.compiled("sink", tmp_path), paths=3, noted=2) as sink:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(sink.url.rpartition(":")[2]))
            began = time.monotonic_ns()
            for path, number in (("/2", 7), ("/1/failing", 8), ("/0", 9), ("/0", 10)):
                writer.write(f"POST {path} HTTP/1.1\r\nce-id: {number}\r\ncontent-length: 0\r\n\r\n".encode())
            statuses = [(await reader.readuntil(b"\r\n\r\n")).split()[1] for _ in range(4)]
            writer.close()
            await writer.wait_closed()
            assert statuses == [b"204", b"500", b"204", b"204"]
            assert [(one.event, one.path) for one in sink.arrivals()] == [(7, 2), (9, 0)]
            assert all(began < one.nanoseconds < time.monotonic_ns() for one in sink.arrivals())

    def test_large_bodies_are_published_and_delivered_whole(self) -> None:
        report = large(sizes=[3 << 20], endpoints=2, prefetch=8, sides=["claimbus"], progress=silent)
        assert {"producer", "worker"} <= report.document["grown_mib"]["claimbus, 3"].keys()

    def test_latency_has_its_percentiles_beside_the_bare_parts(self) -> None:
        report = latency(size=2048, endpoints=2, seconds=0.3, parts=20, progress=silent, shares=[0.1])
        (target,) = report.targets
        assert (target.measured or 0) > 0
        ElementTree.fromstring(report.chart)

    def test_healthy_endpoints_are_measured_beside_failing_ones(self) -> None:
        report = isolation(
            size=2048,
            endpoints=3,
            troubled=1,
            rate=40,
            seconds=0.4,
            repeat=1,
            progress=silent,
            troubles=["failing"],
        )
        assert report.document["ratios"].keys() == {"p99_failing"}
        ElementTree.fromstring(report.chart)

    def test_growth_gives_every_cost_at_every_size(self) -> None:
        what = "attempts"
        assert what in FILLED
        report = growth(participants=[], counts={what: [20]}, seconds=0.3, progress=silent)
        (one,) = report.document["sizes"][what]
        assert one.keys() == {"count", *COSTS}
        assert one["delivery ms"] > 0
        ElementTree.fromstring(report.chart)
