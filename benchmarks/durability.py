"""What durability costs: Redis syncing each write or each second, two RabbitMQs, two databases."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import chart
from benchmarks.bodies import file_of_bodies
from benchmarks.comparison import Result, short
from benchmarks.publish import PRODUCT, one_round
from benchmarks.report import Report
from benchmarks.runner import Progress, interleaved, run_side
from benchmarks.servers import BenchmarkError, rabbitmq_version, room
from benchmarks.side import Keeping, Outcome
from claimbus.cli.services import PostgresServer, RabbitNode, RedisServer, ServicesError, private_directory

OTHER_AMQP_URL, OTHER_MANAGEMENT_URL = "BENCH_OTHER_AMQP_URL", "BENCH_OTHER_MANAGEMENT_URL"
"""Environment variables: a RabbitMQ of another version to compare with. Without them Debian 13's is started,
if a run of the chaos suite has unpacked it."""

TEMPORARY: Final = Path(tempfile.gettempdir())
"""Where each user can enter, PostgreSQL's too."""

ROWS_AT_ONCE: Final = 4000
"""Attempts that wait for their commit: as many as keep a recorder's batches full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What each side does in a round: publish ``events`` bodies, or record ``rows`` attempts."""

    size: int
    events: int
    rows: int
    window: int
    bodies: Path


def durability(*, size: int, events: int, rows: int, window: int, repeat: int, progress: Progress) -> Report:
    """Compare the choices pair by pair, ``repeat`` rounds each."""
    results, notes = [], []
    with (
        file_of_bodies(size) as bodies,
        private_directory(TEMPORARY) as folder,
        ExitStack() as running,
    ):
        load = Load(size=size, events=events, rows=rows, window=window, bodies=bodies)
        for pair in (_redis, _rabbitmq, _database):
            progress(f"{pair.__name__[1:]}: starting servers")
            try:
                unit, sides = pair(load, folder, running)
            except (BenchmarkError, ServicesError) as reason:
                notes.append(f"{pair.__name__[1:]}: not run: {reason}")
                continue
            outcomes = interleaved(list(sides), repeat, partial(_round, sides), progress)
            first, second = sides
            name = f"durability, {pair.__name__[1:]}"
            results.append(Result(name, unit, size, second, outcomes, {"vs_first": (first,)}))
    return _report(results, notes)


Sides = Mapping[str, Callable[[], Outcome]]
"""Two sides, the safer, older or smaller one first, and a round of each."""


def _round(sides: Sides, side: str) -> Outcome:
    return sides[side]()


def _redis(load: Load, folder: Path, running: ExitStack) -> tuple[str, Sides]:
    places = {}
    for fsync in ("always", "everysec"):
        server = running.enter_context(RedisServer(folder / fsync, appendfsync=fsync))
        places[f"redis_{fsync}"] = os.environ | {"CLAIMBUS_REDIS_URL": server.url}
    return "events/s", _publishing(load, places)


def _rabbitmq(load: Load, folder: Path, running: ExitStack) -> tuple[str, Sides]:
    other = _other_rabbitmq(folder, running)
    places = {
        f"rabbitmq_{rabbitmq_version(place['CLAIMBUS_MANAGEMENT_URL'])}": place
        for place in (os.environ, os.environ | other)
    }
    if len(places) < 2:
        raise BenchmarkError("both are of one version")
    return "events/s", _publishing(load, places)


def _database(load: Load, folder: Path, running: ExitStack) -> tuple[str, Sides]:
    given_away = running.enter_context(private_directory(TEMPORARY))  # to PostgreSQL's user
    postgresql = running.enter_context(PostgresServer(given_away))
    urls = {"database_SQLite": f"sqlite:///{folder / 'claimbus.db'}", "database_PostgreSQL": postgresql.url}

    def recording(url: str) -> Outcome:
        order = Keeping(
            step="record",
            letters=load.rows,
            endpoints=0,
            bodies="",
            size=0,
            window=ROWS_AT_ONCE,
            key_prefix="",
            database=url,
        )
        with room() as servers:
            return run_side("record", order, servers)

    return "attempts/s", {side: partial(recording, url) for side, url in urls.items()}


def _publishing(load: Load, places: Mapping[str, Mapping[str, str]]) -> Sides:
    def publishing(place: Mapping[str, str]) -> Outcome:
        with room(place) as servers:
            return one_round(
                PRODUCT,
                servers,
                load.bodies,
                size=load.size,
                events=load.events,
                seconds=60,
                window=load.window,
            )

    return {side: partial(publishing, place) for side, place in places.items()}


def _other_rabbitmq(folder: Path, running: ExitStack) -> dict[str, str]:
    """Return where another RabbitMQ answers. Raises BenchmarkError or ServicesError when there is none."""
    if os.environ.get(OTHER_AMQP_URL):
        amqp_url, management_url = os.environ[OTHER_AMQP_URL], os.environ.get(OTHER_MANAGEMENT_URL, "")
        return {"CLAIMBUS_AMQP_URL": amqp_url, "CLAIMBUS_MANAGEMENT_URL": management_url}
    from tests.chaos.servers import TRIXIE, trixie  # noqa: PLC0415 - which the other benchmarks do not need

    if not TRIXIE.is_dir() or trixie.obstacle():
        raise BenchmarkError(f"{OTHER_AMQP_URL} is not set, and no Debian 13 can be run here")
    program = trixie.entrances(TRIXIE, folder / "debian", trixie.RABBITMQ)
    node = running.enter_context(RabbitNode(folder / "debian" / "rabbitmq", program=program))
    return {"CLAIMBUS_AMQP_URL": node.amqp_url, "CLAIMBUS_MANAGEMENT_URL": node.management_url}


def _report(results: Sequence[Result], notes: Sequence[str]) -> Report:
    bars, ratios = [], {}
    for result in results:
        words = f"{short(result.product)} ÷ {short(next(iter(result.outcomes)))}"
        ratios[words] = ratio = result.ratios()["vs_first"]
        bars.append(chart.Bar(words, ratio or 0))
    return Report(
        name="durability",
        sheets=[result.sheet() for result in results],
        chart=chart.bars("The price of durability", "times as many a second", bars),
        notes=notes,
        document={"ratios": ratios, "results": [{"name": one.name, **one.document()} for one in results]},
    )
