"""Who should have had an event: told by the bindings of that moment, as RabbitMQ would route it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final, NamedTuple

from claimbus.database.bindings import Bound
from claimbus.events.event import ALL, Audience
from claimbus.events.routing import matches

DOUBT: Final = 2.0
"""Seconds by which the dates of a ticket and of a binding may differ from the moment of routing."""

Spans = tuple[tuple[float, float], ...]
"""From when to when an endpoint was bound, in seconds since the epoch, by the begin."""


class Expected(NamedTuple):
    """A delivery that should have been, or may have been: its endpoint was bound or unbound just then."""

    endpoint_id: str
    certain: bool


class Expectations:
    """Which endpoints should have had an event, by their dated bindings."""

    def __init__(self, bound: Iterable[Bound]) -> None:
        # A binding key ends with the participant or "all", never with a wildcard.
        self._bound: defaultdict[tuple[str, str], list[Bound]] = defaultdict(list)
        for one in bound:
            self._bound[one.binding.exchange, one.binding.key.rpartition(".")[2]].append(one)
        self._receivers = cache(self._find_receivers)

    def of(self, event_type: str, audience: Audience, second: int) -> Iterator[Expected]:
        """Yield the deliveries of an event that was published in this second since the epoch."""
        begin, end = second - DOUBT, second + 1 + DOUBT
        for to in (ALL,) if audience == ALL else audience:
            for endpoint_id, spans in self._receivers(event_type, to):
                if covers(spans, begin, end):
                    yield Expected(endpoint_id, certain=True)
                elif any(since < end and until > begin for since, until in spans):
                    yield Expected(endpoint_id, certain=False)

    def _find_receivers(self, event_type: str, to: str) -> tuple[tuple[str, Spans], ...]:
        """Return the endpoints that were ever bound to this type and recipient, and when."""
        found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for one in self._bound[event_type.partition(".")[0], to]:
            if matches(one.binding.key, f"{event_type}.{to}"):
                until = float("inf") if one.bound_to is None else one.bound_to.timestamp()
                found[one.endpoint_id].append((one.bound_from.timestamp(), until))
        return tuple((endpoint_id, tuple(sorted(spans))) for endpoint_id, spans in found.items())


def covers(spans: Spans, begin: float, end: float) -> bool:
    """Tell whether these spans, by their begin, leave no moment from ``begin`` to ``end`` out."""
    for since, until in spans:
        if since > begin:
            return False
        begin = max(begin, until)
        if begin >= end:
            return True
    return False
