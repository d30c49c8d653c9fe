"""The portal's application: its routes, and what runs beside them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, FastAPI

from claimbus.events.errors import ClaimbusError
from claimbus.portal import claims, health, ingest, problems, reference, stream
from claimbus.portal.api import methods, openapi, routers
from claimbus.portal.desk import memory
from claimbus.portal.pages import audit as audit_page
from claimbus.portal.pages import (
    credentials,
    deliveries,
    endpoint_acts,
    endpoints,
    events,
    letters,
    login,
    operator,
    recoveries,
    render,
    replays,
)
from claimbus.portal.services import Services

ROUTERS: Final[tuple[APIRouter, ...]] = (
    claims.router,
    stream.router,
    ingest.router,
    health.router,
    reference.router,
    routers.router,
    routers.open_router,
    login.router,
    recoveries.router,
    endpoint_acts.router,
    endpoints.router,
    deliveries.router,
    letters.router,
    replays.router,
    events.router,
    credentials.router,
    audit_page.router,
    *operator.ROUTERS,
)


def create_app(services: Services) -> FastAPI:
    """Return the application. Open to everybody are only its health and documentation."""
    app = FastAPI(
        title="claimbus",
        description="Claims, streams and events, for participants and ISO systems.",
        version=version("claimbus"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_running,
        responses=problems.DOCUMENTED,
    )
    app.state.services = services
    app.state.readiness = health.Readiness(services)
    problems.install(app, render.problem)
    for router in ROUTERS:
        app.include_router(router)
    openapi.describe(app)
    methods.describe_methods(app)
    app.mount("/static", render.static())
    return app


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    app.state.failed = None
    refreshing = asyncio.create_task(services.trust.keep_fresh())
    auditing = asyncio.create_task(services.redemptions.run())
    try:
        async with services.streams.running(services.stopping):
            yield
    except ClaimbusError as failed:
        app.state.failed = failed  # for whoever serves: uvicorn only logs it
        raise
    finally:
        refreshing.cancel()
        await memory.of(services).aclose()
        services.redemptions.close()
        await auditing
        await services.identity.aclose()
