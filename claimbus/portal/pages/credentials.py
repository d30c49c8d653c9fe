"""Credentials: by what the people and daemons of an organisation log in, and until when."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from claimbus.portal.desk import credentials
from claimbus.portal.pages import render
from claimbus.portal.pages.parts import filtered
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.session import Visiting
from claimbus.portal.pages.typed import of_address
from claimbus.portal.services import Provided

A_PAGE: Final = 50

router = pages()


@router.get("/credentials")
async def every(request: Request, visit: Visiting, there: Provided) -> Response:
    """List them: what ends first comes first."""
    cursor = of_address(request).maybe("cursor")
    found = await filtered(credentials.find(there, visit.who, cursor=cursor, limit=A_PAGE))
    return render.page(request, "credentials.html", status=found.status, found=found)
