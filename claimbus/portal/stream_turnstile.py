"""How often somebody may open a stream."""

from collections import OrderedDict
from collections.abc import Hashable
from time import monotonic
from typing import Final

AT_ONCE: Final = 60
"""Streams that may be opened one right after the other: all that a participant has, in several programs."""

EVERY: Final = 1.0
"""Seconds after which one more may be."""

REMEMBERED: Final = 10_000
"""Of whom it is known when they came last; who is forgotten has not come for long."""


class Turnstile:
    """Counts the openings of each who comes.

    A program that reconnects as it should, with a pause that grows, never meets it.
    """

    def __init__(self) -> None:
        self._free_at: OrderedDict[Hashable, float] = OrderedDict()

    def lets_in(self, who: Hashable) -> bool:
        """Count one more opening, and tell whether it may be."""
        now = monotonic()
        free_at = max(self._free_at.get(who, 0.0), now - AT_ONCE * EVERY)
        if free_at + EVERY > now:
            return False
        self._free_at[who] = free_at + EVERY
        self._free_at.move_to_end(who)
        if len(self._free_at) > REMEMBERED:
            self._free_at.popitem(last=False)
        return True
