"""Dead letters, jobs and attempts to try replays with."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

from claimbus.database import Act, Database, attempts, letters, replays
from claimbus.database.attempts import Attempt
from claimbus.database.letters import DeadLetter
from claimbus.database.replays import Item, ItemState, Replay
from claimbus.database.schema import milliseconds
from claimbus.events.fingerprint import fingerprint

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LEASE_S = 15.0
ACT = Act("jane", "the endpoint is mended", NOON)
UNAVAILABLE = fingerprint("attempts exhausted", 503, "Service Unavailable")


def letter(number: int, **other: object) -> DeadLetter:
    """A delivery of ``evt_<number>`` that ``ep_one`` answered with 503 too often."""
    usual = DeadLetter(
        id=f"dl_{number:020}",
        state_at=NOON,
        died_at=NOON,
        cause=UNAVAILABLE.cause,
        fingerprint=UNAVAILABLE.id,
        status=503,
        detail="Service Unavailable",
        attempts=7,
        endpoint_id="ep_one",
        participant_id="PGAE",
        message_id=f"evt_{number}",
        type="oms.resource-outage.created",
        claim_id=f"claim_{number}",
        timestamp=number,
        expires=number + 86400,
    )
    return replace(usual, **other)  # type: ignore[arg-type]


def enter(connection: Connection, *rows: DeadLetter) -> list[str]:
    """Record letters and return their IDs."""
    letters.record(connection, rows, [UNAVAILABLE], [])
    return [one.id for one in rows]


def job(connection: Connection, rows: int | Sequence[DeadLetter] = 3, **other: object) -> Replay:
    """Make a job of these letters, or of so many."""
    given = [letter(number) for number in range(rows)] if isinstance(rows, int) else rows
    usual: dict[str, object] = {"selection": {}, "rate": None, "canary": False}
    return replays.create(connection, enter(connection, *given), ACT, **usual | other)  # type: ignore[arg-type]


def send(connection: Connection, replay_id: str, count: int = 1000) -> list[int]:
    """Claim the next items and mark them as sent; return their positions."""
    claimed = replays.claim_items(connection, replay_id, count, below=2**31 - 1)
    positions = [item.position for item in claimed]
    replays.mark_sent(connection, replay_id, positions)
    return positions


def attempt(of: DeadLetter, replay: str | None, **other: object) -> Attempt:
    """An attempt, a minute after noon, to deliver a letter's event again; it succeeded."""
    usual = Attempt(
        started_ms=milliseconds(NOON + 60 * SECOND),
        id=attempts.new_id(),
        endpoint_id=of.endpoint_id or "",
        message_id=of.message_id or "",
        verdict="delivered",
        participant_id="PGAE",
        type="oms.resource-outage.created",
        claim_id="claim",
        attempt=1,
        status=200,
        duration_ms=12,
        next="ack",
        detail=None,
        answer_head=None,
        replay=replay,
        source="//iso.example/production/oms",
        event_id="1",
        partitionkey=None,
        sequence=None,
    )
    return usual._replace(**other)  # type: ignore[arg-type]


def failed(of: DeadLetter, replay: str | None, **other: object) -> Attempt:
    """An attempt that failed as the letter did."""
    usual: dict[str, object] = {"verdict": "failed", "status": 503, "detail": "Service Unavailable"}
    return attempt(of, replay, **usual | {"next": "retry in 5 s"} | other)


def line(connection: Connection, replay_id: str) -> list[Item]:
    """Return a job's items in the order of sending."""
    return list(replays.items(connection, replay_id, limit=1000).rows)


def claim(connection: Connection, replay_id: str, limit: int, below: int = 1000) -> list[tuple[int, bool]]:
    """Claim the next items; return their positions, and whether they were unsure."""
    items = replays.claim_items(connection, replay_id, limit, below=below)
    return [(item.position, item.unsure) for item in items]


def later(seconds: float, actor: str = "john") -> Act:
    """An act of another operator, so many seconds after noon."""
    return Act(actor, "a reason", NOON + seconds * SECOND)


def states(connection: Connection, replay_id: str) -> list[tuple[ItemState, str]]:
    """Return the states of a job's items and of their letters, in the order of sending."""
    return [(item.state, item.letter.state) for item in line(connection, replay_id)]


def is_waited_for(database: Database) -> bool:
    """Tell whether a transaction in this PostgreSQL database waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with database.snapshot() as connection:
        return bool(connection.execute(text(f"{waiting} AND wait_event_type = 'Lock'")).scalar_one())
