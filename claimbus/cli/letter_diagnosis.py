"""What the doctor looks at of dead letters: how many wait, what bodies take, jobs that nobody runs."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from claimbus.broker.channel import QueueCounts
from claimbus.cli.durations import show_duration
from claimbus.cli.finding import Finding
from claimbus.cli.settings import Settings
from claimbus.database import kept, letters, replays
from claimbus.database.letters import Filter
from claimbus.database.replays import Replay, State
from claimbus.deadletters.measuring import NEARLY_FULL

if TYPE_CHECKING:
    from sqlalchemy import Connection

DAY: Final = timedelta(days=1)

LONG_LAG: Final = 10_000
"""Letters that are not in the database yet that deserve a look."""

OPEN: Final[tuple[State, ...]] = ("running", "sent", "paused")
"""The states of jobs that have not ended."""

REMEDIES: Final = "raise CLAIMBUS_LETTERS_BUDGET, or lower CLAIMBUS_LETTERS_KEPT"

UNTAKEN_FOR: Final = timedelta(seconds=10)
"""Age of a job from which somebody should run it."""


def recorder(queue: QueueCounts | None) -> Finding:
    """Tell whether the letters in RabbitMQ come into the database."""
    if queue is None or not queue.messages:
        return Finding("ok", "recorder", "no dead letter waits to be recorded")
    waiting = f"{queue.messages:,} dead letters are not in the database yet"
    if not queue.consumers:
        what = f"{waiting}, and nobody records them; is 'claimbus work' or 'deadletters attend' running?"
        return Finding("warning", "recorder", what)
    return Finding("warning" if queue.messages >= LONG_LAG else "ok", "recorder", waiting)


def look(sql: "Connection", settings: Settings) -> list[Finding]:
    """Look at the letters in the database, their bodies, and the jobs that replay them."""
    dead = letters.count(sql, Filter(), by="state").get("dead", 0)
    waiting = f"{dead:,} wait for an operator"
    found = [
        Finding("warning", "dead letters", f"{waiting}; see 'claimbus deadletters groups'")
        if dead
        else Finding("ok", "dead letters", waiting),
        _bodies(sql, settings, datetime.now(UTC)),
    ]
    return [*found, *(finding for job in replays.find(sql, OPEN).rows for finding in _job(job))]


def _bodies(sql: "Connection", settings: Settings, now: datetime) -> Finding:
    """Hold what bodies take, and will take if as many letters come as on the last day, against the budget."""
    stored, budget = kept.stored_bytes(sql), settings.letters_budget
    lasting, recent = (
        sum(letters.count(sql, Filter(states=None, since=now - span), by="state").values())
        for span in (settings.letters_kept, DAY)
    )
    span = show_duration(settings.letters_kept.total_seconds())
    expected = stored * recent * (settings.letters_kept / DAY) / lasting if lasting else 0.0
    message = (
        f"{_size(stored)} of {_size(budget)}; as many a day as the last one make {_size(expected)} in {span}"
    )
    if stored >= budget:
        return Finding(
            "error", "dead letter bodies", f"{message}: no letter is recorded any more; {REMEDIES}"
        )
    if stored > NEARLY_FULL * budget or expected > budget:
        return Finding("warning", "dead letter bodies", f"{message}: {REMEDIES}")
    return Finding("ok", "dead letter bodies", message)


def _job(job: Replay) -> Iterator[Finding]:
    now = datetime.now(UTC)
    if job.state == "paused":
        yield Finding("warning", f"replay {job.id}", f"is paused: {job.state_reason or 'by an operator'}")
    elif (job.leased_until or job.created_at + UNTAKEN_FOR) < now:
        what = "nobody runs it; is 'claimbus work' or 'claimbus deadletters attend' running?"
        yield Finding("warning", f"replay {job.id}", what)


def _size(count: float) -> str:
    return f"{count / 2**20:,.1f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"
