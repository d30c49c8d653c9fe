"""Which endpoints are held: Redis alone knows, for all workers alike."""

from collections.abc import Collection

from claimbus.database.access import Principal, Role
from claimbus.events.errors import UnavailableError
from claimbus.portal.problems import RETRY_AFTER, ProblemError
from claimbus.portal.services import Services


class UnknownError(ProblemError, UnavailableError):
    """Redis is away, so nobody knows which endpoints are held. Operators alone read whose fault that is."""

    def __init__(self, who: Principal) -> None:
        is_operator = who.is_one_of(Role.OPERATOR)
        why = "is not known while Redis is away" if is_operator else "cannot be told now; nothing is lost"
        after = {"retry-after": str(RETRY_AFTER)}
        super().__init__(503, f"which endpoints are held {why}; try again", headers=after)


async def among(
    services: Services, who: Principal, endpoint_ids: Collection[str], *, held: bool
) -> list[str]:
    """Return those of these endpoints that are held now; or, unless ``held``, those that are not.

    One round trip, however many. Raises UnknownError, in words for whoever asks.
    """
    try:
        states = await services.holds.state(endpoint_ids)
    except UnavailableError as away:
        raise UnknownError(who) from away
    return [id_ for id_, state in states.items() if state.held is held]
