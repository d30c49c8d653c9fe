"""What the lanes of a worker share."""

from collections.abc import Callable
from dataclasses import dataclass

from claimbus.broker.connections import Connections
from claimbus.database.endpoint import Endpoint
from claimstore.holds import Holds
from claimstore.progress import Progress
from consumers.disposition import Disposition
from consumers.gate import Happening
from consumers.handler import Handler
from consumers.webhook import Webhook


@dataclass(frozen=True, slots=True)
class Yard:
    """The services of one worker.

    ``ladder`` in seconds. ``news`` is told what happened to an endpoint and why, ``gone``
    that it answered 410.
    """

    worker: str
    connections: Connections
    handler: Handler
    disposition: Disposition
    holds: Holds
    progress: Progress
    ladder: tuple[float, ...]
    webhook: Callable[[Endpoint], Webhook]
    news: Callable[[Endpoint, Happening, str], None]
    gone: Callable[[Endpoint, str], None]
