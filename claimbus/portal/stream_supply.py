"""What the streams of a portal share."""

from dataclasses import dataclass

from claimbus.broker.connections import Connections
from consumers.disposition import Disposition
from consumers.handler import Handler
from consumers.head import Head
from consumers.provision import Provision
from consumers.recorder import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """The services of all streams; ``ladder`` in seconds."""

    connections: Connections
    provision: Provision
    handler: Handler
    recorder: Recorder
    disposition: Disposition
    head: Head
    ladder: tuple[float, ...]
    claims_url: str = "/v1/claims/"
