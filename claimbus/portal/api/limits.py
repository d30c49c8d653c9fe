"""How often somebody may ask: a bucket of tokens for each principal, in each portal."""

import time
from collections import OrderedDict
from math import ceil
from typing import Final

from starlette.requests import Request

from claimbus.portal.desk import memory
from claimbus.portal.problems import ForbiddenError, ProblemError
from claimbus.portal.services import Caller, Provided

KNOWN: Final = 10_000
"""Principals whose buckets are remembered; who is forgotten finds a full one."""

FOR: Final = 2.0
"""Seconds' worth of requests that a full bucket holds."""


class Buckets:
    """The buckets of a portal: each has what is left, and when that was."""

    def __init__(self) -> None:
        self._left: OrderedDict[tuple[str | None, str], tuple[float, float]] = OrderedDict()

    def take(self, key: tuple[str | None, str], rate: float, now: float) -> float:
        """Take a token, of ``rate`` a second; return the seconds until there is one, 0 if there was."""
        full = max(1.0, FOR * rate)
        left, then = self._left.get(key, (full, now))
        left = min(full, left + (now - then) * rate)
        wait = 0.0 if left >= 1 else (1 - left) / rate
        self._left[key] = (left if wait else left - 1, now)
        self._left.move_to_end(key)
        if len(self._left) > KNOWN:
            self._left.popitem(last=False)
        return wait


async def own_site(request: Request) -> None:
    """Raise ForbiddenError where another site's page lets a browser ask: it shows its certificate to us."""
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        raise ForbiddenError


async def limited(services: Provided, principal: Caller) -> None:
    """Raise a problem, 429, for who asks too often."""
    if not services.rate:
        return
    wait = memory.of(services).the(Buckets).take(principal.key, services.rate, time.monotonic())
    if wait:
        told = f"at most {services.rate:g} requests a second, {FOR * services.rate:g} at once"
        raise ProblemError(429, told, headers={"retry-after": str(ceil(wait))})
