"""The pages: how long each takes the portal with a full database, on SQLite and on PostgreSQL."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from benchmarks import chart
from benchmarks.portal import free_port, listening
from benchmarks.report import Cell, Report, Sheet, Target
from benchmarks.runner import Progress, run_side
from benchmarks.servers import Room, room
from benchmarks.sides.pages import Viewing
from claimbus.cli.services import PostgresServer, ServicesError, private_directory

BOUND_MS: Final = 150
"""What the 95th percentile of each page must not exceed."""

DATABASES: Final = ("SQLite", "PostgreSQL")
TEMPORARY: Final = Path(tempfile.gettempdir())
"""Where each user can enter, PostgreSQL's too."""

PAGES: Final = (
    ("overview", "operator", "/overview"),
    ("endpoints", "operator", "/endpoints"),
    ("endpoints, by text", "operator", "/endpoints?text=receiver-19"),
    ("endpoint", "operator", "/endpoints/{endpoint}"),
    ("endpoint, a test event", "operator", "/endpoints/{endpoint}/tests/{message}"),
    ("deliveries", "operator", "/deliveries"),
    ("deliveries, half a day ago", "operator", "/deliveries?cursor={half}"),
    ("deliveries, failed", "operator", "/deliveries?verdict=failed"),
    ("deliveries, of a verdict that none has", "operator", "/deliveries?verdict=corrupt"),
    ("deliveries, of a type", "operator", "/deliveries?type=market.dam.closed"),
    ("deliveries, of a type that none has", "operator", "/deliveries?type=market.dam.reopened"),
    ("deliveries, of an outage", "operator", "/deliveries?partitionkey={partitionkey}"),
    ("deliveries, of an endpoint", "operator", "/deliveries?endpoint={endpoint}"),
    (
        "deliveries, of an endpoint and a type that it has not",
        "operator",
        "/deliveries?endpoint={endpoint}&type=market.dam.reopened",
    ),
    (
        "deliveries, of an endpoint and a verdict that it has not",
        "operator",
        "/deliveries?endpoint={endpoint}&verdict=corrupt",
    ),
    ("delivery", "operator", "/deliveries/{endpoint}/{message}"),
    ("dead letters, groups", "operator", "/letters/groups"),
    ("dead letters, groups by participant", "operator", "/letters/groups?by=participant"),
    ("dead letters", "operator", "/letters"),
    ("dead letters, a group", "operator", "/letters?group={group}"),
    ("dead letters, a group, deep in", "operator", "/letters?group={group}&cursor={letters_cursor}"),
    ("dead letters, preflight of a few", "operator", "/letters/replay/choose?since={ahead}"),
    ("dead letters, replay a group", "operator", "/letters/replay/choose?group={group}"),
    ("dead letters, discard a group", "operator", "/letters/discard/choose?group={group}"),
    ("dead letter", "operator", "/letters/{letter}"),
    ("replays", "operator", "/replays"),
    ("replay", "operator", "/replays/{replay}"),
    ("recoveries", "operator", "/recoveries"),
    ("recoveries, of an endpoint", "operator", "/recoveries?endpoint={endpoint}"),
    ("parked", "operator", "/parked"),
    ("credentials", "operator", "/credentials"),
    ("participants", "operator", "/participants"),
    ("participants, deep in", "operator", "/participants?cursor={participants_cursor}"),
    ("participant, new", "operator", "/participants/new"),
    ("participant", "operator", "/participants/{participant}"),
    ("participant, a change", "operator", "/participants/{participant}/own"),
    ("journal", "operator", "/journal"),
    ("notice", "operator", "/notices/new"),
    ("notice, preview", "operator", "POST /notices/preview?kind=general&title=Soon&text=Soon&audience=all"),
    ("event types", "operator", "/events"),
    ("event type", "operator", "/events/market.dam.closed"),
    ("event types, their dates", "operator", "/event-types"),
    ("event type, its dates", "operator", "/event-types/market.dam.closed"),
    ("audit", "operator", "/audit"),
    ("UAA: endpoints", "uaa", "/endpoints"),
    ("UAA: new endpoint", "uaa", "/endpoints/new"),
    ("UAA: endpoint", "uaa", "/endpoints/{endpoint}"),
    ("UAA: deliveries", "uaa", "/deliveries"),
    ("UAA: deliveries, failed", "uaa", "/deliveries?verdict=failed"),
    ("UAA: deliveries, of a verdict that none has", "uaa", "/deliveries?verdict=corrupt"),
    ("UAA: deliveries, of a type", "uaa", "/deliveries?type=market.dam.closed"),
    ("UAA: deliveries, of a type that none has", "uaa", "/deliveries?type=market.dam.reopened"),
    ("UAA: deliveries, of an outage", "uaa", "/deliveries?partitionkey={partitionkey}"),
    ("UAA: delivery", "uaa", "/deliveries/{endpoint}/{message}"),
    ("UAA: dead letters, groups", "uaa", "/letters/groups"),
    ("UAA: recoveries", "uaa", "/recoveries"),
    ("UAA: credentials", "uaa", "/credentials"),
    ("UAA: audit", "uaa", "/audit"),
)
"""Each page's name, who looks at it, and its path; what is in braces is in the database."""

LEFT_OUT: Final = {
    "/": "it only leads on",
    "/login": "whoever sees it is nobody yet: it shows nothing of the database",
    "/live/overview": "a stream of what the overview shows",
    "/deliveries.csv": "a file of all that is found, row by row",
    "/letters/{letter_id}/body": "a file, as large as the body",
}
"""Why these routes are not among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """How much is in the database."""

    participants: int
    endpoints: int
    attempts: int
    letters: int


@dataclass(frozen=True, slots=True)
class Times:
    """The milliseconds of a page's answers, in their order; ``wrong``: what came instead of the page."""

    ms: tuple[float, ...] = ()
    wrong: str = ""

    @classmethod
    def read(cls, told: str) -> "Times":
        """Read what the side told."""
        try:
            return cls(tuple(map(float, told.split())))
        except ValueError:
            return cls(wrong=told)

    @property
    def p95(self) -> float | None:
        """The 95th percentile; None when there was no page."""
        return quantiles(self.ms, n=20, method="inclusive")[-1] if len(self.ms) > 1 else None

    def cells(self) -> list[Cell]:
        """Return the first answer's milliseconds, the median and the 95th percentile."""
        if not self.ms:
            return [None, None, None]
        return [self.ms[0], median(self.ms), self.p95]


Found = Mapping[str, Mapping[str, Times]]
"""By the database's name, then by the page's."""


def pages(*, seed: Seed, repeat: int, databases: Sequence[str], progress: Progress) -> Report:
    """Ask each page ``repeat`` times, one at a time, on each of these databases."""
    found, notes = dict[str, Mapping[str, Times]](), list[str]()
    for name in databases:
        with private_directory(TEMPORARY) as folder, ExitStack() as running, room() as servers:
            try:
                url = opened(name, folder, running)
            except ServicesError as reason:
                notes.append(f"{name}: not run: {reason}")
                continue
            progress(f"{name}: filling it")
            found[name] = _looked(url, seed, repeat, servers, partial(progress, f"{name}: asking"))
    return _report(found, seed, notes)


def opened(name: str, folder: Path, running: ExitStack) -> str:
    """Return the URL of an empty database of a kind, as long as ``running``. Raises ServicesError."""
    if name == "SQLite":
        return f"sqlite:///{folder / 'claimbus.db'}"
    return running.enter_context(PostgresServer(folder)).url


def _looked(
    database: str, seed: Seed, repeat: int, servers: Room, progress: Callable[[], None]
) -> dict[str, Times]:
    order = Viewing(
        step="fill",
        database=database,
        key_prefix=servers.key_prefix,
        participants=seed.participants,
        endpoints=seed.endpoints,
        attempts=seed.attempts,
        letters=seed.letters,
        url="",
        tokens={},
        pages=[],
        repeat=repeat,
    )
    there = run_side("pages", order, servers).settings
    progress()
    with _portal(order, servers) as url:
        asking = replace(
            order,
            step="ask",
            url=url,
            tokens={whose: str(there[whose]) for whose in ("operator", "uaa")},
            pages=[(name, whose, path.format(**there)) for name, whose, path in PAGES],
        )
        told = run_side("pages", asking, servers).settings
    return {name: Times.read(str(times)) for name, times in told.items()}


@contextmanager
def _portal(order: Viewing, servers: Room) -> Iterator[str]:
    port = free_port()
    settings = {
        "CLAIMBUS_KEY_PREFIX": order.key_prefix,
        "CLAIMBUS_DATABASE_URL": order.database,
        "CLAIMBUS_PORTAL_LISTEN": f"127.0.0.1:{port}",
        "CLAIMBUS_LOG_FORMAT": "json",
    }
    command = [sys.executable, "-m", "claimbus", "portal"]
    with listening((command, servers.environment() | settings, port)) as url:
        yield url


def _report(found: Found, seed: Seed, notes: list[str]) -> Report:
    rows = [[name, *(cell for of in found.values() for cell in of[name].cells())] for name, _, _ in PAGES]
    notes += [
        f"{database}, {name}: {times.wrong}"
        for database, of in found.items()
        for name, times in of.items()
        if times.wrong
    ]
    title = (
        f"ms to answer; {seed.participants:,} participants, {seed.endpoints:,} endpoints, "
        f"{seed.attempts:,} attempts, {seed.letters:,} dead letters"
    )
    columns = ["page", *(f"{database} {what}" for database in found for what in ("first", "p50", "p95"))]
    slowest = {
        database: max((times.p95 for times in of.values() if times.p95 is not None), default=None)
        for database, of in found.items()
    }
    bars = [
        chart.Bar(f"{name} ({database})", of[name].p95 or 0.0, BOUND_MS)
        for name, _, _ in PAGES
        for database, of in found.items()
    ]
    return Report(
        name="pages",
        sheets=[Sheet(title, columns, rows)],
        chart=chart.bars("Every page, 95th percentile", "milliseconds (stroke: target)", bars),
        targets=[
            Target(f"the slowest page on {database}, p95, ms", BOUND_MS, ms, at_most=True)
            for database, ms in slowest.items()
        ],
        notes=notes,
        document={
            "p95_ms": {database: {name: of[name].p95 for name in of} for database, of in found.items()}
        },
    )
