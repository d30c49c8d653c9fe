"""Whether the portal lives, whether it can work, and what it counts."""

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Final

from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from claimbus.database.access import Principal, Role
from claimbus.events.errors import UnavailableError
from claimbus.portal.services import Provided, having

ANSWER_WITHIN: Final = 2.0
"""Seconds for each service behind the portal."""

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer, which only a portal that lives does."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Something behind the portal does not answer."}})
async def readyz(services: Provided) -> Response:
    """Tell which of the services behind the portal answer."""
    looks = {
        "database": services.trust.refresh(),
        "redis": services.store.ping(),
        "rabbitmq": services.consuming.wait_open(),
    }
    answers = dict(zip(looks, await asyncio.gather(*map(_answers, looks.values())), strict=True))
    return JSONResponse(answers, 200 if all(answers.values()) else 503)


@router.get("/metrics")
async def metrics(services: Provided, _: Annotated[Principal, Depends(having(Role.OPERATOR))]) -> Response:
    """Give what Prometheus reads, to operators: their tokens go into its configuration."""
    return Response(generate_latest(services.registry), media_type=CONTENT_TYPE_LATEST)


async def _answers(look: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            await look
    except (UnavailableError, TimeoutError):
        return False
    return True
