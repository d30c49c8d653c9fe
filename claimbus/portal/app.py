"""The portal's application: its routes, and what runs beside them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, FastAPI

from claimbus.portal import claims, health, ingest, problems, stream
from claimbus.portal.services import Services

ROUTERS: Final[tuple[APIRouter, ...]] = (claims.router, stream.router, ingest.router, health.router)


def create_app(services: Services) -> FastAPI:
    """Return the application. Open to everybody are only its health and documentation."""
    app = FastAPI(
        title="claimbus",
        description="Claims, streams and events, for participants and ISO systems.",
        version=version("claimbus"),
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_running,
        responses=problems.DOCUMENTED,
    )
    app.state.services = services
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    return app


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    refreshing = asyncio.create_task(services.trust.keep_fresh())
    auditing = asyncio.create_task(services.redemptions.run())
    try:
        async with services.streams.running(services.stopping):
            yield
    finally:
        refreshing.cancel()
        services.redemptions.close()
        await auditing
        await services.identity.aclose()
