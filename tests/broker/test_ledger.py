"""The law of acks: RabbitMQ must hear exactly what the owner said, and about no tag twice."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from claimbus.broker.ledger import Ledger


class Channel(RuleBasedStateMachine):
    """A ledger beside RabbitMQ's own rules for one channel."""

    @initialize()
    def start(self) -> None:
        self.ledger = Ledger()
        self.delivered = 0
        self.unacked: set[int] = set()
        self.acked: set[int] = set()
        self.said: set[int] = set()

    @rule()
    def deliver(self) -> None:
        self.delivered += 1
        self.unacked.add(self.delivered)
        self.ledger.deliver(self.delivered)

    @rule(tag=st.integers(1, 30))
    def ack(self, tag: int) -> None:
        fresh = tag in self.unacked - self.said
        assert self.ledger.ack(tag) == fresh
        if fresh:
            self.said.add(tag)

    @rule(tag=st.integers(1, 30))
    def requeue(self, tag: int) -> None:
        fresh = tag in self.unacked - self.said
        assert self.ledger.settle(tag) == fresh
        if fresh:
            self.unacked.remove(tag)

    @rule()
    def flush(self) -> None:
        for tag, multiple in self.ledger.take_acks():
            assert tag in self.unacked, "RabbitMQ would close the channel: unknown delivery tag"
            settled = {other for other in self.unacked if other <= tag} if multiple else {tag}
            self.unacked -= settled
            self.acked |= settled
        assert self.acked == self.said

    @invariant()
    def nothing_is_acked_that_was_not(self) -> None:
        assert self.acked <= self.said
        assert len(self.ledger) == len(self.unacked - self.said)


TestChannel = Channel.TestCase


@given(st.permutations(range(1, 9)))
def test_acks_of_everything_leave_as_one(order: list[int]) -> None:
    ledger = Ledger()
    for tag in sorted(order):
        ledger.deliver(tag)
    for tag in order:
        ledger.ack(tag)
    assert ledger.take_acks() == [(8, True)]
    assert ledger.take_acks() == []
