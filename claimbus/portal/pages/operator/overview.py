"""Is everything reaching everybody? One page that answers in one look, and stays true by itself."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from claimbus.database.access import Principal
from claimbus.portal.desk import memory, overview
from claimbus.portal.desk.figures import Overview
from claimbus.portal.pages import live, render
from claimbus.portal.pages.operator.history import History
from claimbus.portal.pages.operator.operating import Operating
from claimbus.portal.pages.operator.summary import summary
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.session import Visiting
from claimbus.portal.services import Provided, Services

router = pages()


@router.get("/overview")
async def whole(request: Request, there: Provided, who: Operating) -> Response:
    """Show the page."""
    return _rendered(request, "operator/overview.html", there, await overview.now(there, who))


@router.get("/live/overview")
async def piece(request: Request, there: Provided, visit: Visiting, _: Operating) -> Response:
    """Send what the page shows, whenever it was looked at anew. Watching it is a use of the session."""
    shown: Overview | None = None

    async def look(who: Principal) -> str | None:
        nonlocal shown
        found = await overview.now(there, who)
        if found is shown:
            return None
        shown = found
        page = _rendered(request, "operator/overview_now.html", there, found)
        return bytes(page.body).decode()

    return live.streamed(request, visit, look, is_use=True)


def _rendered(request: Request, template: str, there: Services, found: Overview) -> HTMLResponse:
    history = memory.of(there).the(History)
    history.add(found)
    return render.page(request, template, found=found, summary=summary(found), drawn=history.drawn(found.at))
