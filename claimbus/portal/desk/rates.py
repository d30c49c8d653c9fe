"""How often somebody may have this system send to an address that they chose, or read very much."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from math import ceil
from typing import Final

from claimbus.database.access import Principal
from claimbus.portal.desk import memory
from claimbus.portal.problems import ProblemError
from claimbus.portal.services import Services

KNOWN: Final = 10_000
"""Buckets that are remembered; who is forgotten finds a full one."""

_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """So many of a thing a minute, as many at once: ``each`` principal's, and ``to`` one endpoint if any."""

    things: str
    each: int
    to: int = 0


VERIFYING: Final = Pace("verifications", each=60, to=10)
TESTING: Final = Pace("test events", each=60, to=10)
RESENDING: Final = Pace("deliveries sent again", each=60, to=60)
RECOVERING: Final = Pace("recoveries", each=30, to=10)
EXPORTING: Final = Pace("exports", each=10)
LOOKING_AHEAD: Final = Pace("preflights of very many letters", each=10)


class TooOftenError(ProblemError):
    """Somebody did it too often; ``wait`` says in how many seconds it may be done again."""

    def __init__(self, told: str, wait: float) -> None:
        seconds = ceil(wait)
        super().__init__(429, f"{told}; try again in {seconds} s", headers={"retry-after": str(seconds)})


class Buckets:
    """Buckets of tokens, by whatever they are counted by: each has what is left, and when that was."""

    def __init__(self) -> None:
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, rate: float, full: float, now: float) -> float:
        """Take a token; return the seconds until there is one, 0 if there was.

        A bucket gets ``rate`` a second, and holds ``full`` at most; ``now`` is in seconds.
        """
        left, then = self._left.get(key, (full, now))
        left = min(full, left + (now - then) * rate)
        wait = 0.0 if left >= 1 else (1 - left) / rate
        self._left[key] = (left if wait else left - 1, now)
        self._left.move_to_end(key)
        if len(self._left) > KNOWN:
            self._left.popitem(last=False)
        return wait


class _Sending(Buckets):
    """Those of a portal: of several, each counts for itself."""


def take(services: Services, pace: Pace, who: Principal, endpoint_id: str | None = None) -> None:
    """Count one thing done by somebody, to an endpoint that is theirs to keep. Raises TooOftenError."""
    buckets, now = memory.of(services).the(_Sending), time.monotonic()
    if endpoint_id is not None and (wait := _wait(buckets, pace, pace.to, endpoint_id, now)):
        raise TooOftenError(f"an endpoint may have {pace.to} {pace.things} a minute", wait)
    if wait := _wait(buckets, pace, pace.each, who.key, now):
        raise TooOftenError(f"you may have {pace.each} {pace.things} a minute", wait)


def _wait(buckets: Buckets, pace: Pace, count: int, key: Hashable, now: float) -> float:
    return buckets.take((pace.things, key), count / _MINUTE, count, now)
