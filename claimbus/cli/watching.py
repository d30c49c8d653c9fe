"""What ``claimbus oms watch`` reads, whom it tells, and how it goes on when a file or a server fails."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Final

from claimbus.cli.commands import told
from claimbus.cli.output import progress
from claimbus.database import entitlements, parked
from claimbus.database.engine import Database
from claimbus.database.entitlements import Entitlement
from claimbus.events.errors import ClaimbusError, InvalidFeedError, UnavailableError
from claimbus.events.event import Event
from producers.feed import Snapshot, read
from producers.oms import Owners, OwnersOf, Park, Taken, Watcher
from producers.producer import PublishingFailedError

SETTLED: Final = 1.0
"""Seconds for which a file must have been left alone: while it grows, what is missing looks ended."""

SUFFIXES: Final = (".csv", ".csv.gz", ".xlsx")

Stamp = tuple[int, int, int]


class Files:
    """The files of a watch, in the order in which they are read; a directory stands for its own, by name."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._taken: dict[Path, Stamp] = {}

    def all(self) -> Iterator[Path]:
        """Yield every file. Raises InvalidFeedError for a path that is not there."""
        for path in self._paths:
            if not path.exists():
                raise InvalidFeedError(str(path), "is no file and no directory")
            yield from _files(path)

    def changed(self) -> Iterator[Path]:
        """Yield the files that are not as they were when they were yielded last, or were `put_back` since.

        One that is away for the moment is left out, and so is one that was written just now.
        """
        for file in chain.from_iterable(map(_files, self._paths)):
            stamp = _settled(file)
            if stamp is not None and stamp != self._taken.get(file):
                self._taken[file] = stamp
                yield file

    def put_back(self, file: Path) -> None:
        """Let a file be read again."""
        self._taken.pop(file, None)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.name.lower().endswith(SUFFIXES))


def _settled(file: Path) -> Stamp | None:
    """Return what tells a file's states apart; None while it is away, or may still be written."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    if time.time() - found.st_mtime < SETTLED:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class Watch:
    """Takes files into a watcher. What goes wrong is told; ``failed`` remembers that something did."""

    def __init__(
        self,
        watcher: Watcher,
        *,
        timezone: str,
        allow_empty: bool,
        tell: Callable[[Path, Taken], None],
        complain: Callable[[str], None],
    ) -> None:
        """Wire a watch; ``tell`` gets what each snapshot brought, ``complain`` a line for each failure."""
        self._watcher = watcher
        self._timezone = timezone
        self._allow_empty = allow_empty
        self._tell = tell
        self._complain = complain
        self.failed = False

    async def carry_through(self, older_than: timedelta) -> None:
        """Publish what earlier watchers left pending. Raises UnavailableError."""
        try:
            await self._watcher.carry_through(older_than=older_than)
        except PublishingFailedError as unpublished:
            self._fail(unpublished)

    async def take(self, file: Path) -> None:
        """Take all snapshots of a file, in their order. Raises UnavailableError: take the file again later.

        A file that must not be believed is told and left, and so is an event that the catalogue refuses.
        """
        try:
            for snapshot in read(file, timezone=self._timezone, allow_empty=self._allow_empty):
                await self._take(file, snapshot)
        except InvalidFeedError as unbelievable:
            self._fail(unbelievable)

    async def _take(self, file: Path, snapshot: Snapshot) -> None:
        try:
            with progress(f"{file.name} {snapshot.date or ''}") as done:
                taken = await self._watcher.take(snapshot, progress=done)
        except PublishingFailedError as unpublished:
            self._fail(unpublished)
        else:
            self._tell(file, taken)

    def _fail(self, failure: ClaimbusError) -> None:
        """Tell a failure after which one can go on; raise the others."""
        if isinstance(failure, PublishingFailedError) and (away := failure.subgroup(UnavailableError)):
            raise UnavailableError(f"{failure.message}: {away.exceptions[0]}") from failure
        reason = told(failure)
        if reason is None:
            raise failure
        self.failed = True
        self._complain(reason)


def owners_in(database: Database) -> OwnersOf:
    """Return what looks owners up in the database."""

    async def owners(resource_ids: Collection[str], at: datetime) -> Owners:
        return await database.read(lambda sql: entitlements.owners(sql, resource_ids, at))

    return owners


def owners_of(known: Iterable[Entitlement]) -> OwnersOf:
    """Return what looks owners up among these entitlements."""
    by_resource: defaultdict[str, list[Entitlement]] = defaultdict(list)
    for one in known:
        by_resource[one.resource_id].append(one)

    async def owners(resource_ids: Collection[str], at: datetime) -> Owners:
        found = {
            resource: frozenset(one.participant_id for one in by_resource[resource] if _holds(one, at))
            for resource in by_resource.keys() & set(resource_ids)
        }
        return {resource: names for resource, names in found.items() if names}

    return owners


def park_in(database: Database) -> Park:
    """Return what parks events in the database."""

    async def park(events: Sequence[tuple[str, Event]]) -> None:
        await database.run(lambda sql: parked.park(sql, events, datetime.now(UTC)))

    return park


def _holds(one: Entitlement, at: datetime) -> bool:
    return one.valid_from <= at and (one.valid_to is None or at < one.valid_to)
