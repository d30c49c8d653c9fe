"""Whether the portal lives, whether it can work, and what it counts."""

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from claimbus.database.access import Principal, Role
from claimbus.events.errors import UnavailableError
from claimbus.portal.services import Provided, Services, having

ANSWER_WITHIN: Final = 2.0
"""Seconds for each service behind the portal."""

KEPT_FOR: Final = 1.0
"""Seconds for which their answers count: anybody may ask, any number of times."""


class Readiness:
    """Which of the services behind the portal answer; they are asked by one at a time, and not too often."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._asking = asyncio.Lock()
        self._answers: Mapping[str, bool] = {}
        self._until = 0.0

    async def answers(self) -> Mapping[str, bool]:
        """Return which of them answered, at most `KEPT_FOR` seconds ago."""
        async with self._asking:
            if time.monotonic() >= self._until:
                self._answers = await self._ask()
                self._until = time.monotonic() + KEPT_FOR
            return self._answers

    async def _ask(self) -> dict[str, bool]:
        services = self._services
        looks = {
            "database": services.trust.refresh(),
            "redis": services.store.ping(),
            "rabbitmq": services.consuming.wait_open(),
        }
        return dict(zip(looks, await asyncio.gather(*map(_answers, looks.values())), strict=True))


router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer, which only a portal that lives does."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Something behind the portal does not answer."}})
async def readyz(request: Request) -> Response:
    """Tell which of the services behind the portal answer, or did a moment ago."""
    readiness: Readiness = request.app.state.readiness
    answers = await readiness.answers()
    return JSONResponse(dict(answers), 200 if all(answers.values()) else 503)


@router.get("/metrics", response_class=PlainTextResponse)
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
