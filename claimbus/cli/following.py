"""Watching a replay: whoever runs it writes down how far it has come, and here that is looked at."""

import time
from collections import deque
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import typer

from claimbus.cli.output import details, print_json, progress, say
from claimbus.database import replays
from claimbus.database.engine import Database
from claimbus.database.replays import Progress, Replay

LOOK_EVERY: Final = 0.3
"""Seconds between two looks."""

ALONE_AFTER: Final = 3.0
"""Seconds after which a job that nobody has taken is told to be nobody's."""

RATE_OVER: Final = 5.0
"""Seconds over which the rate is measured."""


class Standing(NamedTuple):
    """A job and how many of its letters are where."""

    replay: Replay
    progress: Progress

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens by itself: the job has ended, or waits for somebody."""
        return self.replay.state in ("done", "cancelled", "paused")

    @property
    def all_delivered(self) -> bool:
        """Whether every letter was."""
        return self.progress.delivered == self.replay.total

    @property
    def sent(self) -> int:
        """Return how many letters were sent, whatever became of them."""
        return self.progress.sent + self.progress.delivered + self.progress.dead_again

    @property
    def settled(self) -> int:
        """Return of how many letters it is known what became of them."""
        return self.replay.total - self.progress.waiting - self.progress.sending - self.progress.sent


def look(database: Database, replay_id: str) -> Standing:
    """Return where a job stands. Raises NotFoundError."""
    with database.snapshot() as sql:
        return Standing(replays.get(sql, replay_id), replays.progress(sql, replay_id))


def watch(database: Database, replay_id: str, *, as_json: bool, **more: object) -> None:
    """Follow a job until it is over and show what became of it; Ctrl-C leaves it alone.

    JSON has ``more`` in it. Exits with 1 unless everything was delivered. Raises NotFoundError.
    """
    try:
        standing = _follow(database, replay_id)
    except KeyboardInterrupt as left:
        say(f"claimbus: {replay_id} goes on: 'claimbus replays watch', 'pause' or 'cancel' {replay_id}")
        raise typer.Exit(130) from left
    show_outcome(standing, as_json=as_json, **more)
    if not standing.all_delivered:
        raise typer.Exit(1)


def _follow(database: Database, replay_id: str) -> Standing:
    """Show on a terminal how a job goes on, until it is over; return where it stands then."""
    rate, alone_since, told = _Rate(), time.monotonic(), False
    with progress(replay_id) as bar:
        while True:
            standing = look(database, replay_id)
            bar(standing.settled, standing.replay.total, _note(standing, rate(standing.sent)))
            if standing.is_over:
                return standing
            if _has_runner(standing.replay):
                alone_since = time.monotonic()
            elif not told and time.monotonic() - alone_since > ALONE_AFTER:
                bar.say(f"nobody runs {replay_id}: start 'claimbus work', or 'claimbus deadletters attend'")
                told = True
            time.sleep(LOOK_EVERY)


def facts(standing: Standing) -> dict[str, Any]:
    """Return what is known of a job, with its letters counted by what became of them."""
    return asdict(standing.replay) | standing.progress._asdict()


def show_outcome(standing: Standing, *, as_json: bool, **more: object) -> None:
    """Print where a job stands; JSON has ``more`` in it."""
    job, counts = standing
    if as_json:
        print_json(facts(standing) | more)
    else:
        told = {"replay": job.id, "state": job.state, "why": job.state_reason, "letters": job.total}
        details(told | {name: count or None for name, count in counts._asdict().items()}, as_json=False)
    if counts.dead_again or counts.skipped:
        say(f"claimbus: 'claimbus replays show {job.id}' tells which were not delivered, and why")


def _has_runner(job: Replay) -> bool:
    return job.leased_until is not None and job.leased_until > datetime.now(UTC)


def _note(standing: Standing, rate: float) -> str:
    job, counts = standing
    facts = [f"{standing.sent:,} sent, {rate:.0f}/s", f"{counts.delivered:,} delivered"]
    if job.stage < job.total:
        facts.insert(0, f"canary of {job.stage}")
    facts += [f"{counts.dead_again:,} dead again"] if counts.dead_again else []
    facts += [f"{counts.skipped:,} skipped"] if counts.skipped else []
    return " · ".join(facts)


class _Rate:
    """How many are sent a second, over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def __call__(self, sent: int) -> float:
        now = time.monotonic()
        self._seen.append((now, sent))
        while now - self._seen[0][0] > RATE_OVER:
            self._seen.popleft()
        since, before = self._seen[0]
        return (sent - before) / (now - since) if now > since else 0.0
