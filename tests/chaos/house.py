"""A house: one run's participants, endpoints, processes and notes, in a vhost and database of its own."""

import asyncio
import json
import random
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from claimbus.broker.topology import endpoint_queue
from claimbus.cli.database import open_database
from claimbus.cli.demo.authority import Authority
from claimbus.cli.demo.receivers import Behaviour
from claimbus.cli.services import PostgresServer
from claimbus.cli.services.server import free_ports
from claimbus.cli.settings import Settings
from claimbus.database import tokens
from claimbus.database.access import Grant, Role
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.events.errors import UnavailableError
from producers.outbox import Outbox
from tests.chaos.fault import Fault, Part
from tests.chaos.feed import EVERY, Feed
from tests.chaos.judge import Outcome, judge
from tests.chaos.load import Course
from tests.chaos.notes import Notes
from tests.chaos.premises import (
    ACT,
    COAST,
    MOVED,
    PLACES,
    REFUSER,
    REFUSES,
    STREAM,
    VICTIM,
    database_of,
    environment_of,
    furnish,
    own_vhost_of,
    settings_of,
    through,
)
from tests.chaos.processes import Processes, ProcessFailedError
from tests.chaos.servers import Servers, by_link

__all__ = ["PLACES", "VICTIM", "WORKERS", "House"]

WORKERS = ("worker-1", "worker-2")
LOAD_ENDS_WITHIN = 75.0
LOOK_EVERY = 0.4


@dataclass
class House:
    """What is open. ``endpoints`` by the participant's ID: each participant has one."""

    servers: Servers
    directory: Path
    parts: frozenset[Part]
    seed: int
    rate: float
    environment: dict[str, str]
    settings: Settings
    vhost: str
    database: Database
    endpoints: dict[str, Endpoint]
    urls: dict[str, str]
    processes: Processes
    notes: Notes
    clock: Path
    receivers: Process
    postgres: PostgresServer | None = None
    victim: str = VICTIM
    """The receiver at which the endpoint of that participant is now; the other one is `MOVED`."""
    remarks: list[str] = field(default_factory=list)
    _fault: str = ""
    _commands: dict[str, tuple[list[str], str]] = field(default_factory=dict)
    _feed: Feed | None = None
    _feeding: asyncio.Task[None] | None = None
    _lives: int = 0
    _telling: asyncio.Lock = field(default_factory=asyncio.Lock)

    def kill(self, name: str) -> None:
        """End a process by SIGKILL: ``load``, ``worker-1``, ``worker-2``, ``attendant``, and of the parts
        ``portal``, ``subscriber``, ``watcher``, ``relay``."""
        self.processes.send(name, signal.SIGKILL)

    def pause(self, name: str) -> None:
        """Stop a process by SIGSTOP."""
        self.processes.send(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Continue a process by SIGCONT."""
        self.processes.send(name, signal.SIGCONT)

    async def start(self, name: str, *, at: str = "", nth: int = 1) -> None:
        """Start a process that was killed; return when it is ready.

        ``at``: it is killed at this point (`tests.chaos.at_point`) when it comes there for the n-th time.
        """
        words, ready = self._commands[name]
        if name == "load":
            self._write_course()
        if at:
            words = ["tests.chaos.at_point", at, str(nth), *words]
        own = {}
        if name == "load" and "publisher" in self.servers.links:
            own["CLAIMBUS_AMQP_URL"] = by_link(self.settings.amqp_url, self.servers.links["publisher"])
        await self.processes.start(name, [sys.executable, "-m", *words], ready=ready, environment=own)

    async def ended(self, name: str, within: float = 60.0) -> int:
        """Wait until a process has ended by itself; its exit code, 137 when it was killed."""
        return await self.processes.ended(name, within)

    async def claimbus(self, *words: str, within: float = 120.0) -> str:
        """Run a command of the product with this house's settings; its standard output.

        Raises ProcessFailedError unless it exits with 0 or, as a reconcile may, with 1 and something to say.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "claimbus", *words),
            env=self.environment,
            cwd=self.directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(within):
                said, complained = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode not in (0, 1) or (process.returncode and not said):
            raise ProcessFailedError(f"claimbus {' '.join(words)}: {complained.decode()}")
        return said.decode()

    async def flow(self, count: int = 50, within: float = 60.0) -> None:
        """Wait until so many more requests have come to the receivers."""
        before = len(self.notes.read().receipts)
        await self.until(lambda: len(self.notes.read().receipts) >= before + count, within, "nothing comes")

    async def published(self, count: int = 20, within: float = 60.0) -> None:
        """Wait until so many more events were acknowledged."""
        before = len(self.notes.read().ledger)
        await self.until(
            lambda: len(self.notes.read().ledger) >= before + count, within, "nothing is published"
        )

    async def until(self, look: Callable[[], bool | Awaitable[bool]], within: float, otherwise: str) -> None:
        """Wait until it looks so. Raises ProcessFailedError saying what is otherwise."""
        deadline = time.monotonic() + within
        while True:
            found = look()
            if found if isinstance(found, bool) else await found:
                return
            if time.monotonic() > deadline:
                raise ProcessFailedError(f"{otherwise}, for {within:.0f} s now")
            await asyncio.sleep(0.1)

    async def behave(self, receiver: str, *behaviours: Behaviour) -> None:
        """Have a receiver behave like this, or well."""
        await self.tell(receiver, behaviours=[one.model_dump(mode="json") for one in behaviours])

    async def tell(self, receiver: str, **wish: object) -> None:
        """Change a receiver, as `tests.chaos.receiver` understands it."""
        assert self.receivers.stdin is not None
        assert self.receivers.stdout is not None
        async with self._telling:
            self.receivers.stdin.write(json.dumps({"name": receiver, **wish}).encode() + b"\n")
            if not await self.receivers.stdout.readline():
                raise ProcessFailedError("the receivers have ended")

    def queue(self, participant: str) -> str:
        """The name of the queue of a participant's endpoint."""
        endpoint = self.endpoints[participant]
        return endpoint_queue(endpoint.id, endpoint.generation)

    def jump(self, seconds: int) -> None:
        """Have the clock of all our processes jump, if the fault has it faked: away from the true time."""
        self.clock.write_text(f"{seconds:+d}s\n")

    def remark(self, text: str) -> None:
        """Add something to the fault's row."""
        if text not in self.remarks:
            self.remarks.append(text)

    @property
    def database_file(self) -> Path:
        """Where SQLite's database lies."""
        return Path(self.settings.database_url.removeprefix("sqlite:///"))

    async def begin(self, fault: Fault) -> None:
        """Let events flow, with new books; return when every receiver has something."""
        self._fault, self._lives, self.remarks = fault.name, 0, []
        self.notes.begin()
        if self._feed is not None:
            self._feeding = asyncio.create_task(self._keep_feeding(self._feed))
        await self.start("load")
        everybody = {place.participant for place in self.notes.books.places}

        def reached() -> bool:
            return everybody <= {one.participant for one in self.notes.read().receipts if one.taken}

        await self.until(reached, 60, "somebody receives nothing")

    async def end(self) -> None:
        """Publish no more, and wait for the confirms."""
        if self._feeding is not None:
            self._feeding.cancel()
        self.processes.send("load", signal.SIGTERM)
        await self.ended("load", LOAD_ENDS_WITHIN)

    async def settle(self, within: float) -> Outcome:
        """Wait until every delivery has come or has become something else, and nothing comes any more.

        At most ``within`` so many seconds; the verdict then.
        """
        owners = {endpoint.id: name for name, endpoint in self.endpoints.items()}
        deadline, before = time.monotonic() + within, -1
        while True:
            try:
                books = await self.notes.read_all(owners)
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
            else:
                outcome, seen = judge(books), len(books.receipts)
                settled = seen == before and not (outcome.lost or outcome.bodiless)
                if settled or time.monotonic() > deadline:
                    return outcome
                before = seen
            await asyncio.sleep(LOOK_EVERY)

    def _write_course(self) -> None:
        self._lives += 1
        course = Course(
            directory=self.directory,
            seed=self.seed,
            life=f"{self._fault}-{self._lives}",
            rate=self.rate,
            clock=time.time() - time.monotonic(),
            participants=tuple(self.endpoints),
            outbox=self.directory / "outbox.db" if "outbox" in self.parts else None,
        )
        (self.directory / "course.json").write_text(course.model_dump_json())

    @classmethod
    @asynccontextmanager
    async def open(
        cls, servers: Servers, directory: Path, faults: Sequence[Fault], *, seed: int, rate: float
    ) -> AsyncIterator["House"]:
        """Open it all in an empty directory, but for the publisher; everything ends with it.

        It has what the faults want, which differ in nothing but their parts.
        """
        fault, parts = faults[0], frozenset[Part]().union(*(one.parts for one in faults))
        async with AsyncExitStack() as stack:
            vhost = f"chaos-{random.Random(f'{seed}{directory}').randrange(16**8):08x}"
            await stack.enter_async_context(own_vhost_of(servers, vhost))
            database_url, postgres = database_of(stack, directory, fault)
            clock = directory / "clock"
            environment = environment_of(servers, directory, fault, vhost, database_url)
            processes = Processes(directory, environment)
            stack.push_async_callback(processes.aclose)
            names = [place.participant for place in PLACES]
            receivers = await processes.start(
                "receivers",
                [sys.executable, "-m", "tests.chaos.receiver", str(directory), *names, MOVED],
                ready="",
                piped=True,
                environment={"LD_PRELOAD": ""},  # their clocks never jump
            )
            assert receivers.stdout is not None
            told = json.loads(await receivers.stdout.readline())
            settings = settings_of(environment)
            database = stack.enter_context(open_database(settings))
            places = PLACES if "stream" not in parts else (*PLACES, COAST)
            urls = dict(told["urls"])
            urls[VICTIM] = through(servers, "receiver", urls[VICTIM])
            added = await furnish(settings, places, urls, told["ca_pem"])
            streamed = {STREAM: directory / "stream"} if "stream" in parts else {}
            house = cls(
                servers=servers,
                directory=directory,
                parts=parts,
                seed=seed,
                rate=rate,
                environment=environment,
                settings=settings,
                vhost=vhost,
                database=database,
                endpoints=added,
                urls=urls,
                processes=processes,
                notes=Notes(directory, places, streamed, database),
                clock=clock,
                receivers=receivers,
                postgres=postgres,
            )
            house.jump(0)
            for name, endpoint in added.items():
                secrets = [secret.value for secret in endpoint.secrets]
                for receiver in (name, MOVED) if name == VICTIM else (name,):
                    if endpoint.kind == "webhook":
                        await house.tell(receiver, secrets=secrets)
            await house.behave(REFUSER, REFUSES)
            await house._start_all()
            try:
                yield house
            finally:
                if house._feeding is not None:
                    house._feeding.cancel()

    async def _start_all(self) -> None:
        """Start all processes but the publisher."""
        parts, directory = self.parts, self.directory
        work = (["claimbus", "work"], '"worker ready"')
        attend = (["claimbus", "deadletters", "attend"], '"attendant ready"')
        self._commands = dict.fromkeys(WORKERS, work) | {"attendant": attend, "attendant-2": attend}
        if "stream" in parts:
            await self._prepare_stream()
        if "watcher" in parts:
            everybody = tuple(place.participant for place in self.notes.books.places)
            self._feed = Feed(directory, everybody, self.settings.oms_source, self.seed)
            watch = ["claimbus", "oms", "watch", str(self._feed.snapshots)]
            watch += ["--owners", str(self._feed.owners)]
            watch += ["--every", "200ms", "--abandoned-after", "1s"]
            self._commands["watcher"] = watch, ""
        self._commands["load"] = ["tests.chaos.load", str(directory / "course.json")], "load ready"
        if "outbox" in parts:
            relay = ["claimbus", "outbox", "relay", str(directory / "outbox.db"), "--every", "200ms"]
            self._commands["relay"] = relay, ""
            Outbox(directory / "outbox.db").close()
        others = self._commands.keys() - {"load", "subscriber", "attendant-2"}
        await asyncio.gather(*map(self.start, others))
        if "stream" in parts:
            await self.start("subscriber")

    async def _prepare_stream(self) -> None:
        directory = self.directory / "portal"
        authority = Authority(directory)
        certificate = authority.server("portal", "127.0.0.1")
        (port,) = free_ports(1)
        token = self.directory / "token"
        grant = Grant(frozenset({Role.PARTICIPANT}), STREAM)
        expires = datetime.now(UTC) + timedelta(days=2)
        added = await self.database.run(lambda sql: tokens.add(sql, STREAM, grant, ACT, expires_at=expires))
        token.write_text(added[1])
        self.environment["CLAIMBUS_PORTAL_LISTEN"] = f"127.0.0.1:{port}"
        self.environment["CLAIMBUS_PORTAL_CERTIFICATE_FILE"] = str(certificate)
        subscribe = ["claimbus", "subscribe", "--endpoint", self.endpoints[STREAM].id]
        subscribe += ["--url", through(self.servers, "portal", f"wss://127.0.0.1:{port}")]
        subscribe += ["--ca", str(authority.ca), "--token-file", str(token)]
        subscribe += ["--dir", str(self.directory / "stream"), "--log-format", "json"]
        self._commands["portal"] = ["claimbus", "portal"], '"portal ready"'
        self._commands["subscriber"] = subscribe, '"subscriber ready"'

    @staticmethod
    async def _keep_feeding(feed: Feed) -> None:
        while True:
            feed.write()
            await asyncio.sleep(EVERY)
