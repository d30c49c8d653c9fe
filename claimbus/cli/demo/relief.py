"""The operator's part of the demo: what died is looked at, and delivered once its endpoint is mended."""

import asyncio
import time
from typing import Final

from claimbus.cli.demo.evidence import Row
from claimbus.cli.demo.records import MOST
from claimbus.cli.demo.stage import Stage
from claimbus.cli.demo.view import DeadGroup, View
from claimbus.database import letters, replays
from claimbus.database.audit import Act
from claimbus.database.letters import Filter, Group
from claimbus.database.replays import ItemState, Progress, Replay, State
from claimbus.deadletters.preflight import Preflight

DEAD: Final = Filter()
OUT: Final[tuple[ItemState, ...]] = ("sending", "sent", "delivered", "dead again")
"""States of a replay's items that were sent."""

ENDED: Final[tuple[State, ...]] = ("paused", "done", "cancelled")
"""States in which a replay does not get on by itself."""

TREND: Final = 12
"""Spans of time in which a group's letters are counted."""

LOOK_EVERY: Final = 0.25
"""Seconds between two looks at the replay."""

PATIENCE: Final = 45.0
"""Seconds without progress after which the replay is left to itself."""

FOLLOW: Final = 1.0
"""Seconds to read what a step has found."""


class Operator:
    """Relieves a stage on which workers run of its dead letters."""

    def __init__(self, stage: Stage, view: View) -> None:
        self._stage = stage
        self._view = view
        self._groups: dict[str | None, Group] = {}
        self._unready: dict[str, str] = {}
        self._sent: dict[str, str] = {}

    async def relieve(self) -> None:
        """Look at the groups, have their endpoints mended, run the preflight, and replay what is ready.

        Return when the replay has ended, or does not get on; the verdict tells what is missing. Raises
        UnavailableError.
        """
        if not await self._look():
            self._view.phase("operator", "nothing is dead, so nothing is replayed")
            return
        await self._mend()
        if (replay := await self._create()) is not None:
            await self._watch(replay)

    def told(self, letter: Row) -> Row:
        """Return a dead letter with what was made of it, if anything."""
        group = self._groups.get(letter["fingerprint"])
        if group is None:
            return letter
        unready, replay = self._unready.get(letter["id"], ""), self._sent.get(letter["id"])
        return {**letter, "group": _title(group), "unready": unready, "replay": replay}

    async def _look(self) -> bool:
        """Show the groups; tell whether there are any."""
        found = await self._stage.database.read(lambda sql: letters.groups(sql, DEAD, buckets=TREND))
        if not found:
            return False
        self._groups = {group.key: group for group in found}
        count = sum(group.count for group in found)
        self._view.phase("operator", f"{count:,} dead, by what went wrong")
        self._view.groups([DeadGroup(_title(group), group.count, group.trend) for group in found])
        await asyncio.sleep(FOLLOW)
        return True

    async def _mend(self) -> None:
        """Have the receivers of what is dead do nothing wrong any more."""
        theirs = await self._stage.database.read(lambda sql: letters.groups(sql, DEAD, by="participant"))
        for participant in [group.key for group in theirs if group.key]:
            await self._stage.receivers.tell(participant, behaviours=[])
            self._view.phase("operator", f"{participant} has mended its endpoint")

    async def _create(self) -> Replay | None:
        """Make a replay of what the preflight finds ready; None when nothing is."""
        stage, rate = self._stage, self._stage.wiring.settings.replay_rate or None
        ids = await stage.database.read(lambda sql: letters.select_ids(sql, DEAD))
        preflight = Preflight(stage.database, stage.store, stage.wiring.holds(stage.store))
        self._unready = dict((await preflight.run(ids, rate=rate)).not_ready)
        ready = len(ids) - len(self._unready)
        self._view.phase("operator", f"preflight: {ready:,} ready, {len(self._unready):,} not ready")
        await asyncio.sleep(FOLLOW)
        if not ready:
            return None
        act = Act("demo", "the endpoint is mended")
        return await stage.database.run(
            lambda sql: replays.create(
                sql, ids, act, selection={"state": "dead"}, rate=rate, canary=True, skipped=self._unready
            )
        )

    async def _watch(self, replay: Replay) -> None:
        """Show a replay until it has ended, or nothing moves any more; note what was sent."""
        database, moved, before, told = self._stage.database, time.monotonic(), Progress(), ""
        while True:
            job = await database.read(lambda sql: replays.get(sql, replay.id))
            progress = await database.read(lambda sql: replays.progress(sql, replay.id))
            self._view.replayed(progress.delivered, progress.total - progress.skipped)
            if (text := _state(job, progress)) != told:
                self._view.phase("operator", told := text)
            if progress != before:
                moved, before = time.monotonic(), progress
            if job.state in ENDED or time.monotonic() - moved > PATIENCE:
                break
            await asyncio.sleep(LOOK_EVERY)
        page = await database.read(lambda sql: replays.items(sql, replay.id, OUT, limit=MOST))
        self._sent = {item.letter.id: replay.id for item in page.rows}


def _title(group: Group) -> str:
    """Return what went wrong, with the status that its fingerprint has apart."""
    return f"{group.cause}: {group.error}".replace("HTTP <number>", f"HTTP {group.status}")


def _state(job: Replay, progress: Progress) -> str:
    if job.state == "running":
        return f"replay {job.id} running: the first {job.stage:,} of {job.total:,}"
    outcome = f"{progress.delivered:,} delivered, {progress.dead_again:,} dead again"
    reason = f" ({job.state_reason})" if job.state == "paused" else ""
    return f"replay {job.id} {job.state}{reason}: {outcome}"
