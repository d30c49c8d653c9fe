"""What the streams of a portal share."""

from dataclasses import dataclass

from claimbus.broker.connection import Connection
from claimstore.progress import Progress
from consumers.disposition import Disposition
from consumers.handler import Handler
from consumers.provision import Provision
from consumers.recorder import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """The services of all streams; ``ladder`` in seconds."""

    connection: Connection
    provision: Provision
    handler: Handler
    recorder: Recorder
    disposition: Disposition
    progress: Progress
    ladder: tuple[float, ...]
    claims_url: str = "/v1/claims/"
