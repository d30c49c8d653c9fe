"""What is counted and measured of dead letters, for Prometheus."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge


class LettersMetrics:
    """The metrics of dead letters, in the registry of the process that attends to them.

    The gauges tell what the database and the queue hold, whichever process asks; the counters what this
    process did.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._dead = Gauge(
            "claimbus_dead_letters", "Dead letters that wait for an operator", ["cause"], registry=registry
        )
        self._causes: frozenset[str] = frozenset()
        self.stored = Gauge("claimbus_dead_letter_bytes", "Bytes of the bodies kept", registry=registry)
        self.budget = Gauge(
            "claimbus_dead_letter_budget_bytes", "Bytes that they may take", registry=registry
        )
        self.lag = Gauge(
            "claimbus_recorder_lag", "Letters that are not in the database yet", registry=registry
        )
        self.recorded = Counter("claimbus_letters_recorded", "Letters recorded", registry=registry)
        self.bodies_missing = Counter(
            "claimbus_letter_bodies_missing", "Letters recorded without their body", registry=registry
        )
        self.replayed = Counter(
            "claimbus_letters_replayed", "Letters sent again by replays", registry=registry
        )

    def dead(self, counts: Mapping[str, int]) -> None:
        """Set how many letters are dead, by cause; a cause that is not named has none any more."""
        for gone in self._causes - counts.keys():
            self._dead.remove(gone)
        for cause, count in counts.items():
            self._dead.labels(cause).set(count)
        self._causes = frozenset(counts)
