"""How often somebody may ask: a bucket of tokens for each principal, in each portal."""

import time
from typing import Final

from starlette.requests import Request

from claimbus.portal.desk import memory
from claimbus.portal.desk.rates import Buckets, TooOftenError
from claimbus.portal.problems import ForbiddenError
from claimbus.portal.services import Caller, Provided

FOR: Final = 2.0
"""Seconds' worth of requests that a full bucket holds."""


class _Requests(Buckets):
    """The buckets of a portal."""


async def own_site(request: Request) -> None:
    """Raise ForbiddenError where another site's page lets a browser ask: it shows its certificate to us."""
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        raise ForbiddenError


async def limited(services: Provided, principal: Caller) -> None:
    """Raise TooOftenError for who asks too often."""
    if not services.rate:
        return
    rate, buckets = services.rate, memory.of(services).the(_Requests)
    if wait := buckets.take(principal.key, rate, max(1.0, FOR * rate), time.monotonic()):
        raise TooOftenError(f"at most {rate:g} requests a second, {FOR * rate:g} at once", wait)
