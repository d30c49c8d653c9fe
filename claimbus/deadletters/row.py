"""What a letter from the queue becomes in the database."""

from datetime import UTC, datetime
from typing import Any

from claimbus.broker.codec import Letter
from claimbus.database.letters import DeadLetter, letter_id
from claimbus.events.fingerprint import Fingerprint, fingerprint


def row_of(letter: Letter, participant_id: str | None, now: datetime) -> tuple[DeadLetter, Fingerprint]:
    """Return the letter's row and the fingerprint of its group.

    A letter without a ticket has its bytes in ``raw``, and nothing of an event. RabbitMQ's own letters do not
    say when they died: then it is ``now``. Anybody may have written the headers: numbers that cannot be are
    left out.
    """
    died = letter.died or 0
    died_at = datetime.fromtimestamp(died, UTC) if 0 < died <= now.timestamp() else now
    ticket, endpoint_id = letter.ticket, letter.endpoint
    status = letter.status if letter.status is None or letter.status > 0 else None
    group = fingerprint(letter.cause, status, letter.detail)
    death: dict[str, Any] = {
        "died_at": died_at,
        "state_at": now,
        "cause": letter.cause,
        "fingerprint": group.id,
        "status": status,
        "detail": letter.detail,
        "attempts": max(letter.attempts, 0),
        "endpoint_id": endpoint_id,
        "participant_id": participant_id,
    }
    if ticket is None:
        return DeadLetter(id=letter_id(endpoint_id, letter.body, 0, None), raw=letter.body, **death), group
    row = DeadLetter(
        id=letter_id(endpoint_id, ticket.message_id, ticket.age_begins, ticket.replay),
        message_id=ticket.message_id,
        type=ticket.type,
        claim_id=ticket.claim_id,
        timestamp=ticket.timestamp,
        expires=ticket.expires,
        partitionkey=ticket.partitionkey,
        sequence=ticket.sequence,
        traceparent=ticket.traceparent,
        replay=ticket.replay,
        **death,
    )
    return row, group
