"""Hold, don't drop: whether one endpoint may be tried, as this worker knows it.

The count of failures, the hold and the lease of the one probe lie in Redis, so five in a row are five over
all workers. ``control`` spreads the news; a worker that missed it learns of it at the next reconcile.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

from claimbus.events.errors import UnavailableError
from claimstore.errors import StoreUnavailableError
from claimstore.holds import Holds, HoldState
from consumers.verdict import Verdict
from consumers.work import Trial

LEASE_MARGIN: Final = 10.0
"""Seconds by which a probe's lease outlasts the attempt's own timeout."""

ASK_AGAIN: Final = 1.0
"""Seconds until this worker asks again for a probe that was refused: another one has it, or no Redis."""

Happening = Literal["failing", "held", "released"]
News = Callable[[Happening, str], None]
"""Told what happened to the endpoint, once over all workers, and why."""


class Gate:
    """The gate of one endpoint. Open, everything goes through; held, one probe at a time."""

    def __init__(
        self,
        endpoint_id: str,
        worker: str,
        holds: Holds,
        *,
        timeout: float,
        moved: Callable[[], None],
        news: News,
    ) -> None:
        """Start open. ``timeout`` is an attempt's, in seconds; ``moved`` is called when the gate may have."""
        self._endpoint_id = endpoint_id
        self._worker = worker
        self._holds = holds
        self._lease_ms = round((timeout + LEASE_MARGIN) * 1000)
        self._moved = moved
        self._news = news
        self._state: HoldState | None = None
        self._suspect = False
        self._ask_at = 0.0

    @property
    def held(self) -> bool:
        """Whether only probes may go out."""
        return self._state is not None

    def learn(self, state: HoldState) -> None:
        """Take over what all workers know."""
        self._suspect = state.failures > 0
        self._state = state if state.held else None
        self._moved()

    async def look(self) -> None:
        """Ask what all workers know. Raises StoreUnavailableError."""
        self.learn((await self._holds.state([self._endpoint_id]))[self._endpoint_id])

    async def hear(self, what: Happening) -> None:
        """Heed what another worker announced."""
        if what == "failing":
            self._suspect = True  # the next success here must clear the count
            return
        with suppress(UnavailableError):
            await self.look()

    async def note(self, trial: Trial, *, probe: bool) -> None:
        """Note how an attempt ended; without Redis it is learned later.

        Who refuses an event is there, and may take the next: a refusal holds nobody. Nor does it show that
        the next will be taken: a refused probe releases nobody, the hold waits for a success.
        """
        if trial.answer is None:
            return
        with suppress(UnavailableError):
            if trial.outcome.verdict is Verdict.DELIVERED:
                await self.succeeded()
            elif probe or trial.outcome.verdict is Verdict.FAILED:
                await self.failed(trial.outcome.detail, probe=probe)

    async def succeeded(self) -> None:
        """Note a delivery that the endpoint took. Raises StoreUnavailableError."""
        if not self._suspect:
            return
        released = await self._holds.succeeded(self._endpoint_id)
        self._suspect, self._state = False, None
        self._moved()
        if released:
            self._news("released", "a delivery succeeded")

    async def failed(self, reason: str, *, probe: bool) -> None:
        """Note an attempt that failed, or a ``probe`` that was no success. Raises StoreUnavailableError.

        A probe that was refused (4xx) is none either: the next one waits longer, the hold goes on.
        """
        if probe:
            self.learn(await self._holds.probe_failed(self._endpoint_id, self._worker))
            return
        first = not self._suspect
        state = await self._holds.failed(self._endpoint_id)
        self.learn(state)
        if state.begins:
            self._news("held", reason)
        elif first:
            self._news("failing", reason)

    def until_probe(self) -> float:
        """Return the seconds until it is worth asking for the probe; 0 or less: now."""
        if self._state is None or self._state.next_probe is None:
            return ASK_AGAIN
        due = self._state.next_probe / 1000 - time.time()
        # By Redis's clock; should ours be far behind it, the pause is never exceeded.
        due = min(due, (self._state.pause or 0) / 1000)
        return max(due, self._ask_at - time.monotonic())

    async def take_probe(self) -> bool:
        """Take the lease of the one probe that is due. False: another worker has it, or the hold is over."""
        try:
            if await self._holds.take_probe(self._endpoint_id, self._worker, lease_ms=self._lease_ms):
                return True
            self._ask_at = time.monotonic() + ASK_AGAIN
            await self.look()
        except StoreUnavailableError:
            self._ask_at = time.monotonic() + ASK_AGAIN
        return False
