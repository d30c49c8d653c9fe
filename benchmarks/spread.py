"""How long things took: percentiles in milliseconds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """How long things took, in milliseconds."""

    p50: float
    p99: float
    p999: float

    @classmethod
    def of(cls, nanoseconds: Sequence[float]) -> "Spread":
        """Return the spread of some durations: the least below which so many of them lie."""
        ordered = sorted(nanoseconds)
        at = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.99, 0.999))
        return cls(*(round(found / 1e6, 3) for found in at))
