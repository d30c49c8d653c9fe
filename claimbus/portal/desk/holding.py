"""Which endpoints are held: Redis alone knows, for all workers alike."""

from collections.abc import Collection

from claimbus.events.errors import UnavailableError
from claimbus.portal.problems import RETRY_AFTER, ProblemError
from claimbus.portal.services import Services


class UnknownError(ProblemError, UnavailableError):
    """Redis is away, so nobody knows which endpoints are held."""

    def __init__(self) -> None:
        told = "which endpoints are held is not known while Redis is away; try again"
        super().__init__(503, told, headers={"retry-after": str(RETRY_AFTER)})


async def among(services: Services, endpoint_ids: Collection[str], *, held: bool) -> list[str]:
    """Return those of these endpoints that are held now; or, unless ``held``, those that are not.

    One round trip, however many. Raises UnknownError.
    """
    try:
        states = await services.holds.state(endpoint_ids)
    except UnavailableError as away:
        raise UnknownError from away
    return [id_ for id_, state in states.items() if state.held is held]
