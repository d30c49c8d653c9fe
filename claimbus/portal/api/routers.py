"""All routers of the desk."""

from typing import Final

from fastapi import APIRouter, Depends

from claimbus.portal.api import (
    asyncapi,
    audit,
    credentials,
    deadletters,
    deliveries,
    endpoints,
    event_types,
    journal,
    notices,
    overview,
    parked,
    participants,
    recoveries,
    replays,
)
from claimbus.portal.api.limits import limited, own_site
from claimbus.portal.api.openapi import ANSWERS

router: Final = APIRouter(dependencies=[Depends(own_site), Depends(limited)], responses=ANSWERS)
for _one in (
    overview.router,
    participants.router,
    endpoints.router,
    deliveries.router,
    recoveries.router,
    deadletters.router,
    replays.router,
    event_types.router,
    journal.router,
    notices.router,
    parked.router,
    credentials.router,
    audit.router,
):
    router.include_router(_one)

open_router: Final = asyncapi.router
