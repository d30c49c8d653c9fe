"""How this room tries again: after random, growing pauses, so that not all come back at once."""

import asyncio
import logging
import random
from typing import Final

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    stop_never,
    wait_random_exponential,
)

_log = logging.getLogger(__name__)

LONGEST_PAUSE: Final = 5.0
"""Seconds."""


def tries(what: str, *errors: type[Exception], within: float | None = None) -> AsyncRetrying:
    """Return an asynchronous iterator of tries, which goes on after these errors.

    ``what`` says for the log what is tried. It goes on for ever, or for ``within`` seconds: then the last
    error is raised as it is.
    """

    def report(state: RetryCallState) -> None:
        _log.warning(
            "%s, try %d: %s", what, state.attempt_number, state.outcome and state.outcome.exception()
        )

    return AsyncRetrying(
        retry=retry_if_exception_type(errors),
        wait=wait_random_exponential(multiplier=0.1, max=LONGEST_PAUSE),
        stop=stop_never if within is None else stop_after_delay(within),
        before_sleep=report,
        reraise=True,
    )


async def pause(lived: float) -> None:
    """Wait a little before replacing a channel that lived for less than a second: it may go on like that."""
    if lived < 1.0:
        await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311 - no secret
