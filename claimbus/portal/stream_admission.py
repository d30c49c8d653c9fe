"""Who may open a stream, and for how long it is certain that they still may."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from claimbus.database import endpoints
from claimbus.database.access import Principal
from claimbus.database.endpoint import Endpoint
from claimbus.database.engine import Database
from claimbus.database.errors import NotFoundError
from claimbus.events.errors import ClaimbusError
from claimbus.events.stream import CloseCode
from claimbus.portal.problems import UnauthenticatedError
from claimbus.portal.stream_turnstile import Turnstile

TOO_OFTEN: Final = "streams are opened too often: wait longer before the next"

Identify = Callable[[], Awaitable[Principal]]
"""Tells who is on the other side. Raises UnauthenticatedError and UnavailableError."""


class RefusedError(ClaimbusError):
    """A stream that is not opened, or not kept open."""

    def __init__(self, code: CloseCode, reason: str = "") -> None:
        super().__init__(reason or code.meaning)
        self.code = code


class Guest:
    """The other side of a stream."""

    def __init__(self, identify: Identify, participant_id: str) -> None:
        """Take it as identified now."""
        self._identify = identify
        self._participant_id = participant_id
        self._certain_at = time.monotonic()

    @property
    def uncertain_for(self) -> float:
        """For how many seconds it is not known whether the credential still counts."""
        return time.monotonic() - self._certain_at

    async def identify_anew(self) -> None:
        """Make sure that the credential still counts. Raises RefusedError, UnavailableError."""
        try:
            principal = await self._identify()
        except UnauthenticatedError as unknown:
            raise RefusedError(CloseCode.UNAUTHENTICATED) from unknown
        if not principal.acts_for(self._participant_id):
            raise RefusedError(CloseCode.NOT_ENTITLED)
        self._certain_at = time.monotonic()


class Admission:
    """Lets in who is entitled, ``at_most`` streams of each participant at a time, and nobody too often."""

    def __init__(self, database: Database, *, at_most: int) -> None:
        self._database = database
        self._at_most = at_most
        self._turnstile = Turnstile()
        self._open: Counter[str] = Counter()

    async def admit(self, endpoint_id: str, identify: Identify) -> tuple[Endpoint, Principal]:
        """Return the endpoint, if it may be streamed from, and who comes. Raises as `Guest` does.

        One that is not there is refused as somebody else's is: nobody learns which there are.
        """
        try:
            principal = await identify()
        except UnauthenticatedError as unknown:
            raise RefusedError(CloseCode.UNAUTHENTICATED) from unknown
        if not self._turnstile.lets_in(principal.key):
            raise RefusedError(CloseCode.TOO_MANY, TOO_OFTEN)
        endpoint = None
        if endpoint_id.isascii() and endpoint_id.isprintable():
            with suppress(NotFoundError):
                endpoint = await self._database.read(lambda sql: endpoints.get(sql, endpoint_id))
        if endpoint is None or not principal.acts_for(endpoint.participant_id):
            raise RefusedError(CloseCode.NOT_ENTITLED)
        if endpoint.kind != "stream" or endpoint.removed_at is not None:
            raise RefusedError(CloseCode.NO_STREAM)
        if endpoint.state == "disabled":
            raise RefusedError(CloseCode.DISABLED)
        if self._open[endpoint.participant_id] >= self._at_most:
            raise RefusedError(CloseCode.TOO_MANY)
        return endpoint, principal

    @contextmanager
    def counted(self, participant_id: str) -> Iterator[None]:
        """Count one stream of this participant's as open."""
        self._open[participant_id] += 1
        try:
            yield
        finally:
            self._open[participant_id] -= 1
