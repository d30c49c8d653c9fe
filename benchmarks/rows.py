"""Rows of the database, as workers and recorders would write them."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from benchmarks.bodies import TYPE
from claimbus.database.attempts import Attempt, new_id
from claimbus.database.endpoint import Endpoint
from claimbus.database.kept import KeptClaim
from claimbus.database.letter import DeadLetter, letter_id
from claimbus.events.event import audience_of
from claimbus.events.fingerprint import fingerprint

RECORD: Final = 780
"""Bytes of a claim's record: what 2 KB of our bodies compress to, with the event's attributes."""

Chosen = tuple[Sequence[Attempt], Sequence[DeadLetter], Sequence[KeptClaim]]


class Rows:
    """What there could be for numbered moments, one of each kind for each."""

    def __init__(self, endpoint: Endpoint, moments: Sequence[tuple[int, datetime]]) -> None:
        self._endpoint = endpoint
        self._moments = moments
        self.group = fingerprint("rejected", 422, "Unprocessable")

    def attempts(self) -> list[Attempt]:
        """Return attempts that delivered."""
        id_, participant = self._endpoint.id, self._endpoint.participant_id
        return [
            delivered(number, endpoint=id_, participant=participant, started_ms=int(at.timestamp() * 1000))
            for number, at in self._moments
        ]

    def letters(self, every: int = 1) -> list[DeadLetter]:
        """Return letters of every so many of the numbers."""
        return [self._letter(f"evt_{secrets.token_urlsafe(18)}", died) for _, died in self._moments[::every]]

    def bodies(self) -> list[KeptClaim]:
        """Return kept claims, of bodies of 2 KB."""
        audience = audience_of([self._endpoint.participant_id])
        return [
            KeptClaim(
                secrets.token_urlsafe(16), audience, 2048, RECORD, 0, kept_at, secrets.token_bytes(RECORD)
            )
            for _, kept_at in self._moments
        ]

    def _letter(self, message_id: str, died: datetime) -> DeadLetter:
        return DeadLetter(
            id=letter_id(self._endpoint.id, message_id, int(died.timestamp()), None),
            state_at=died,
            died_at=died,
            cause="rejected",
            fingerprint=self.group.id,
            status=422,
            detail="422 Unprocessable",
            attempts=3,
            endpoint_id=self._endpoint.id,
            participant_id=self._endpoint.participant_id,
            message_id=message_id,
            type=TYPE,
        )


def delivered(number: int, *, endpoint: str, participant: str, started_ms: int) -> Attempt:
    """Return the attempt that delivered the event of this number."""
    return Attempt(
        started_ms=started_ms,
        id=new_id(),
        endpoint_id=endpoint,
        message_id=f"evt_{number:024}",
        verdict="delivered",
        participant_id=participant,
        type=TYPE,
        claim_id=secrets.token_urlsafe(16),
        attempt=1,
        status=204,
        duration_ms=3,
        next="ack",
        detail=None,
        answer_head=None,
        replay=None,
        source="urn:claimbus:benchmark:oms",
        event_id=str(number),
        partitionkey=None,
        sequence=None,
    )
