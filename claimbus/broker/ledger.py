"""Which deliveries of one channel are neither acked nor handed back."""

from bisect import bisect


class Ledger:
    """Unsettled delivery tags. RabbitMQ counts them from 1 on each channel, and gives each once.

    Acks are gathered and leave together: one ack with ``multiple`` for all that lie below the oldest
    unsettled tag, one each for the rest. That is far fewer commands for a quorum queue than one an ack.
    """

    __slots__ = ("_acked", "_unsettled")

    def __init__(self) -> None:
        self._unsettled: dict[int, None] = {}
        self._acked: list[int] = []

    def __len__(self) -> int:
        return len(self._unsettled)

    def deliver(self, tag: int) -> None:
        """Note a delivery; tags come in order."""
        self._unsettled[tag] = None

    def settle(self, tag: int) -> bool:
        """Note that a delivery is acked or handed back; False when it was before."""
        if tag not in self._unsettled:
            return False
        del self._unsettled[tag]
        return True

    def ack(self, tag: int) -> bool:
        """Settle a delivery by an ack, which `take_acks` gives; False when it was settled before."""
        settled = self.settle(tag)
        if settled:
            self._acked.append(tag)
        return settled

    def take_acks(self) -> list[tuple[int, bool]]:
        """Return the acks to send, as tags and whether all below are meant too, and forget them."""
        acked, self._acked = sorted(self._acked), []
        below = bisect(acked, next(iter(self._unsettled))) if self._unsettled else len(acked)
        together = [(acked[below - 1], True)] if below else []
        return together + [(tag, False) for tag in acked[below:]]
