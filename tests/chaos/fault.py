"""A fault: what is done to a running house, once; and the row that tells how it ended."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.chaos.house import House

Part = Literal["stream", "watcher", "outbox"]
"""What a house may have beside its publisher, workers, attendant and receivers: a portal with a subscriber,
an OMS watcher, an outbox with its relay."""


Inject = Callable[["House", random.Random], Awaitable[None]]
"""Does the harm once and mends it; returns when it is mended."""


class NotRunError(Exception):
    """This fault cannot be injected on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of harm.

    ``inject`` does it once, mends it, and returns when it is mended; all its choices come from the given
    source of chance. It raises NotRunError for what this machine cannot do.
    """

    name: str
    """Of lower-case words: ``worker-killed``."""
    what: str
    """One line, for the table."""
    inject: Inject
    kind: str = "plain"
    """Which servers it needs; faults of one kind share them, one house after the other."""
    times: int = 3
    """How often in a long run; a short one injects it once."""
    short: bool = False
    """Whether it is part of a short run."""
    parts: frozenset[Part] = frozenset()
    """What the house must have for it, besides what every house has."""
    settings: tuple[tuple[str, str], ...] = ()
    """Settings of the product that differ for it: names without ``CLAIMBUS_``, lower case."""
    database: Literal["sqlite", "postgresql"] = "sqlite"
    disk: int = 0
    """Megabytes of the disk of its own that the database is on; 0: no such disk."""
    faked_clock: bool = False
    """Whether the clock of our processes can be made to jump (`House.jump`)."""
    patience: float = 120.0
    """Seconds in which everything must have arrived after the last injury."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How a fault ended. ``not_run``: why it was not injected; all counts are 0 then. ``failed``: what went
    wrong with the run itself, so that it proves nothing.

    ``recovery_s``: seconds from the end of an injury until all that was published before it had arrived; the
    worst of all injuries.
    """

    name: str
    what: str
    injected: int = 0
    events: int = 0
    deliveries: int = 0
    lost: int = 0
    leaked: int = 0
    duplicates: int = 0
    disordered: int = 0
    bodiless: int = 0
    forgotten: int = 0
    letters: int = 0
    recovery_s: float = 0.0
    remarks: tuple[str, ...] = ()
    not_run: str = ""
    failed: str = ""

    @property
    def harmless(self) -> bool:
        """Whether nothing was lost, leaked, out of order, or a dead letter without its body."""
        return not (self.lost or self.leaked or self.disordered or self.bodiless or self.failed)
