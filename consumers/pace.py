"""A steady rate for one endpoint."""

import time


class Pace:
    """Gives out the moments at which deliveries may begin, ``per_second`` of them; None: any moment."""

    def __init__(self, per_second: float | None) -> None:
        self._next = 0.0
        self.change(per_second)

    def change(self, per_second: float | None) -> None:
        """Give out moments at another rate, after those that are taken."""
        self._gap = 0.0 if per_second is None else 1 / per_second

    def next(self) -> float:
        """Return the next free moment, of the monotonic clock, and take it."""
        if not self._gap:
            return 0.0
        moment = max(self._next, time.monotonic())
        self._next = moment + self._gap
        return moment
