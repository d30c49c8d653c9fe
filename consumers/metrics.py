"""What a worker counts, for Prometheus, and of it what everybody counts who delivers."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consumers.retry import Ack, DeadLetter, Disable, Keep, Retry, Step
from consumers.verdict import Verdict

_STEPS: Final[dict[type[Step], str]] = {
    Ack: "ack",
    Retry: "retry",
    Keep: "keep",
    DeadLetter: "dead letter",
    Disable: "disable",
}

_LATENCY: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


class AttemptMetrics:
    """The metrics of attempts, in a registry that is given or else their own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        attempts = self._counter("attempts", "Attempts by verdict", "verdict")
        self._attempts = {verdict: attempts.labels(verdict.value) for verdict in Verdict}
        steps = self._counter("steps", "What was done after an attempt", "step")
        self._steps = {step: steps.labels(name) for step, name in _STEPS.items()}
        self._latency = Histogram(
            "claimbus_delivery_seconds",
            "From the event's time to its delivery",
            buckets=_LATENCY,
            registry=self.registry,
        )

    def attempted(self, verdict: Verdict, step: Step, latency: float | None) -> None:
        """Count an attempt; ``latency`` in seconds, when it was delivered."""
        self._attempts[verdict].inc()
        self._steps[type(step)].inc()
        if latency is not None:
            self._latency.observe(latency)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"claimbus_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"claimbus_{name}", meaning, labels, registry=self.registry)


class Metrics(AttemptMetrics):
    """The worker's metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.published = self._counter("published", "Events published", "type")
        self.held = self._gauge("held_endpoints", "Endpoints that are held, each counted by one worker")
        self.workers = self._gauge("workers", "Workers that are there, as far as this one knows")
        self.lanes = self._gauge("lanes", "Endpoint queues that this worker consumes")
        self.unacked = self._gauge("unacked_deliveries", "Deliveries in this worker's hands")
        self.depth = self._gauge("queue_depth", "Tickets ready in an endpoint's queue", "queue")
        self.quarantined = self._gauge("quarantined_endpoints", "Endpoints whose queue does not answer")
        self.lost = self._counter("lost_queues", "Queues that were gone and made again")
        self.blocked = self._gauge("rabbitmq_blocked", "1 while RabbitMQ takes nothing: an alarm is on")
        self.redeems = self._gauge("redeems", "Claims redeemed since the start", "from")
