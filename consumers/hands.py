"""The deliveries that one lane or one stream has in its hands, from their arrival to their ack."""

import time
from collections import deque
from typing import Final

from claimbus.broker.consumer import Delivery
from claimbus.database.endpoint import Endpoint
from claimbus.events.errors import InvalidTicketError
from consumers.disposition import Disposition
from consumers.work import Work

UNACKED_AT_MOST: Final = 25 * 60.0
"""Seconds a ticket stays unacked; RabbitMQ closes the channel at 30 minutes (its ``consumer_timeout``)."""


class Hands:
    """Holds ``tickets`` deliveries at most: those in the ``backlog`` wait to be tried.

    The others are being tried, or wait for their attempt's row and their ack.
    """

    def __init__(self, disposition: Disposition, *, tickets: int) -> None:
        self.backlog: deque[Work] = deque()
        self.tickets = tickets
        self._disposition = disposition
        self._unacked: set[Work] = set()

    def __len__(self) -> int:
        """Return how many are unacked."""
        return len(self._unacked)

    @property
    def busy(self) -> int:
        """How many are being tried, or were and are not done with."""
        return len(self._unacked) - len(self.backlog)

    @property
    def longest(self) -> float:
        """For how many seconds one has been here at most that the broker did not take back."""
        now = time.monotonic()
        return now - min((work.arrived for work in self._unacked if not work.delivery.void), default=now)

    def take(self, delivery: Delivery, endpoint: Endpoint) -> bool:
        """Take what came from the queue into the backlog. False: it was no ticket, and is a dead letter."""
        try:
            ticket = delivery.ticket()
        except InvalidTicketError as wrong:
            self._disposition.refuse(delivery, endpoint, str(wrong))
            return False
        work = Work(delivery, ticket, time.monotonic(), ticket.attempt)
        self._unacked.add(work)
        self.backlog.append(work)
        return True

    def drop(self, work: Work) -> None:
        """Forget one: it was acked or handed back, or is about to be."""
        self._unacked.discard(work)

    def drop_waiting(self) -> None:
        """Forget what waits here and the broker took back."""
        waiting = list(self.backlog)
        self.backlog.clear()
        for work in waiting:
            if work.delivery.void:
                self.drop(work)
            else:
                self.backlog.append(work)

    def drop_void(self) -> None:
        """Forget everything that the broker took back."""
        self.drop_waiting()
        self._unacked = {work for work in self._unacked if not work.delivery.void}

    def hand_back(self, older_than: float) -> None:
        """Hand back what has waited here to be tried for longer than so many seconds."""
        latest = time.monotonic() - older_than
        for work in [one for one in self.backlog if one.arrived < latest]:
            self.backlog.remove(work)
            self.drop(work)
            work.delivery.requeue()

    def clear(self) -> None:
        """Forget everything: whoever has the queue hands it back."""
        self._unacked.clear()
        self.backlog.clear()
