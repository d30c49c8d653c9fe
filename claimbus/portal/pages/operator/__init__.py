"""The operators' pages: whether everything reaches everybody, and what to do when it does not."""

from typing import Final

from fastapi import APIRouter

from claimbus.portal.pages.operator import (
    changes,
    event_types,
    journal,
    notices,
    overview,
    parked,
    participants,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    overview.router,
    participants.router,
    changes.router,
    journal.router,
    notices.router,
    event_types.router,
    parked.router,
)
