"""The portal: claims and frames of a stream a second, beside a bare route and a bare WebSocket."""

import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import chart
from benchmarks.bodies import body, file_of_bodies
from benchmarks.comparison import Result
from benchmarks.report import Report, Target
from benchmarks.runner import PROJECT, Progress, interleaved, run_side
from benchmarks.servers import BenchmarkError, Room, room
from benchmarks.side import Asking, Outcome
from claimbus.events.stream import Delivery

PRODUCT: Final = "portal_claimbus"
BARE: Final = "portal_bare"
STEPS: Final = ("claims", "stream")
READY_WITHIN: Final = 30.0
CLAIMS: Final = "portal: GET /v1/claims"
STREAM: Final = "portal: stream"
BOUNDS: Final = {CLAIMS: 0.5, STREAM: 0.6}


def portal(*, size: int, count: int, window: int, repeat: int, progress: Progress) -> tuple[Result, Result]:
    """Compare both, with ``count`` bodies or frames of ``size`` bytes a round, ``window`` at a time."""
    with tempfile.TemporaryDirectory() as folder, file_of_bodies(size) as bodies, room() as servers:
        order = Asking(
            step="prepare",
            url="",
            token="",
            claims=[],
            endpoint="",
            bodies=str(bodies),
            size=size,
            count=count * repeat,
            window=window,
            key_prefix=servers.key_prefix,
            database=str(Path(folder) / "claimbus.db"),
        )
        progress("preparing")
        there = run_side("portal", order, servers).settings
        order = replace(
            order,
            token=str(there["token"]),
            endpoint=str(there["endpoint"]),
            claims=str(there["claims"]).split(","),
            count=count,
        )
        with listening(_product(order, servers)) as product, listening(_bare(order, Path(folder))) as bare:
            urls = {PRODUCT: product, BARE: bare}
            outcomes = {
                step: _rounds(order, urls, servers, step=step, repeat=repeat, progress=progress)
                for step in STEPS
            }
    return (
        Result(CLAIMS, "bodies/s", size, PRODUCT, outcomes["claims"], {"vs_bare": (BARE,)}),
        Result(STREAM, "frames/s", size, PRODUCT, outcomes["stream"], {"vs_bare": (BARE,)}),
    )


def report(results: Sequence[Result]) -> Report:
    """Return the report of both results."""
    targets = [
        Target(f"{result.name} ÷ bare", BOUNDS[result.name], result.ratios()["vs_bare"]) for result in results
    ]
    bars = [chart.Bar(one.what, one.measured or 0, one.bound) for one in targets]
    return Report(
        name="portal",
        sheets=[result.sheet() for result in results],
        chart=chart.bars("The portal ÷ the bare ones", "times as many a second (stroke: target)", bars),
        targets=targets,
        notes=[line for result in results for line in result.settings()],
        document={"results": [{"name": result.name, **result.document()} for result in results]},
    )


def _rounds(
    order: Asking, urls: Mapping[str, str], servers: Room, *, step: str, repeat: int, progress: Progress
) -> dict[str, list[Outcome]]:
    def one_round(side: str) -> Outcome:
        return run_side("portal", replace(order, step=step, url=urls[side]), servers)

    return interleaved((PRODUCT, BARE), repeat, one_round, lambda what: progress(f"{step}, {what}"))


def _product(order: Asking, servers: Room) -> tuple[Sequence[str], Mapping[str, str], int]:
    port = free_port()
    settings = {
        "CLAIMBUS_KEY_PREFIX": order.key_prefix,
        "CLAIMBUS_DATABASE_URL": f"sqlite:///{order.database}",
        "CLAIMBUS_PORTAL_LISTEN": f"127.0.0.1:{port}",
        "CLAIMBUS_LOG_LEVEL": "info",
        "CLAIMBUS_LOG_FORMAT": "json",
    }
    return [sys.executable, "-m", "claimbus", "portal"], servers.environment() | settings, port


def _bare(order: Asking, folder: Path) -> tuple[Sequence[str], Mapping[str, str], int]:
    port, content, frame = free_port(), folder / "content", folder / "frame"
    content.write_bytes(body(0, order.size))
    attributes = {
        "specversion": "1.0",
        "id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "source": "urn:claimbus:production:oms",
        "type": "oms.resource-outage.status-changed",
        "time": "2026-01-01T00:00:00.000000Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:claimbus:schema:oms.resource-outage.status-changed:1",
    }
    frame.write_bytes(
        Delivery(
            delivery=1, attempt=1, message_id="evt_" + 24 * "a", event=attributes, body=content.read_bytes()
        ).encode()
    )
    command = [sys.executable, "-m", "benchmarks.sides.portal_bare", str(port)]
    return [*command, str(order.window), str(content), str(frame)], {}, port


@contextmanager
def listening(of: tuple[Sequence[str], Mapping[str, str], int]) -> Iterator[str]:
    """Run a server until the end of the block; give its URL once it answers."""
    command, environment, port = of
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, cwd=PROJECT, env=dict(environment) or None, stdout=log, stderr=log
        ) as process,
    ):
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + READY_WITHIN
        try:
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise BenchmarkError(f"{command[2]} does not listen:\n{log.read()[-4000:]}")
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    with suppress(OSError):
        urllib.request.urlopen(f"{url}/openapi.json", timeout=5).close()
        return True
    return False


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
