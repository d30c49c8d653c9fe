"""What a change of an endpoint comes to: in the database, in RabbitMQ, at its receiver."""

from dataclasses import dataclass, field
from typing import Final

import structlog

from claimbus.database.endpoint import Endpoint
from claimbus.events.errors import ClaimbusError
from claimbus.portal.desk import patience
from claimbus.portal.services import Services
from claimstore.quarantined import Quarantined
from consumers.provision import Provision
from consumers.verification import Verification

_log: Final = structlog.get_logger("claimbus.portal.desk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An endpoint as it is now; its new ``secret``, shown this once; how its receiver answered, if asked.

    ``late`` says what of the change is still to come: workers see to RabbitMQ by themselves.
    """

    endpoint: Endpoint
    secret: str | None = field(default=None, repr=False)
    verification: Verification | None = None
    late: str | None = None


async def provision(services: Services, endpoint: Endpoint) -> str | None:
    """Bind its queue as the database has it, and tell the workers; return why that is impossible now."""
    provision_ = Provision(services.database, services.consuming)
    try:
        async with patience.bounded(services):
            if endpoint.removed_at is not None:
                await provision_.unbind(endpoint)
            elif endpoint.id not in await Quarantined(services.store.connection).all():
                await provision_.give(endpoint.id)
            await services.publisher.announce(endpoint.id, "changed")
    except ClaimbusError as failed:
        _log.warning("saved, but not in RabbitMQ yet", endpoint=endpoint.id, reason=str(failed))
        return "it is saved, but not in effect everywhere yet; the workers will see to that"
    return None
