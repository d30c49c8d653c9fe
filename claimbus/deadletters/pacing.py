"""How many deliveries may go to which endpoint now: a token bucket each, of one second's worth at most."""

import math
import time
from collections.abc import Iterable

_ROUNDING = 1e-6
"""Of a token, by which sums of floats may fall short of it."""


class Pacing:
    """Gives out tokens at ``rate`` a second for each endpoint; a bucket holds one token at least."""

    def __init__(self, rate: float) -> None:
        self._gap = 1 / rate
        self._longest = max(1.0, self._gap)
        self._empty_at: dict[str | None, float] = {}
        """The moment, of the monotonic clock, since when each bucket has been filling."""

    def take(self, endpoint_ids: Iterable[str | None], now: float | None = None) -> int:
        """Take a token for each of these in turn until one has to wait; return how many got theirs."""
        now = time.monotonic() if now is None else now
        taken = 0
        for endpoint_id in endpoint_ids:
            empty_at = max(self._empty_at.get(endpoint_id, -math.inf), now - self._longest)
            if now - empty_at < self._gap * (1 - _ROUNDING):
                break
            self._empty_at[endpoint_id] = empty_at + self._gap
            taken += 1
        return taken

    def wait(self, endpoint_id: str | None, now: float | None = None) -> float:
        """Return the seconds until this endpoint's next token."""
        now = time.monotonic() if now is None else now
        return max(0.0, self._empty_at.get(endpoint_id, -math.inf) + self._gap - now)
