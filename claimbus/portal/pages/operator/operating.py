"""Who may see the operators' pages."""

from typing import Annotated

from fastapi import Depends

from claimbus.database.access import Principal, Role
from claimbus.portal.desk import scope
from claimbus.portal.pages.session import Visiting


async def operating(visit: Visiting) -> Principal:
    """Return who is logged in. Raises ForbiddenError unless it is an operator."""
    scope.must_be(visit.who, Role.OPERATOR)
    return visit.who


Operating = Annotated[Principal, Depends(operating)]
"""A route's parameter: the operator who is logged in."""
