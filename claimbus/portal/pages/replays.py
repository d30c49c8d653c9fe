"""Replays: what is on its way, how far it is, and how to stop it."""

import asyncio
from typing import TYPE_CHECKING, Final, Literal, get_args

from starlette.requests import Request
from starlette.responses import Response

from claimbus.database.access import Principal
from claimbus.database.replay_rows import ItemState, Replay, State
from claimbus.portal.desk import replays
from claimbus.portal.pages import render, said
from claimbus.portal.pages.failed import NOT_DONE, Failed
from claimbus.portal.pages.parts import filtered
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.session import Visiting
from claimbus.portal.pages.typed import of_address, of_form
from claimbus.portal.services import Provided, Services

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

Turning = Literal["pause", "resume", "cancel"]
STATES: Final[tuple[State, ...]] = get_args(State)
ITEM_STATES: Final[tuple[ItemState, ...]] = get_args(ItemState)

router = pages()


@router.get("/replays")
async def every(request: Request, visit: Visiting, there: Provided) -> Response:
    """List jobs, the newest first: all, or those in a state."""
    typed = of_address(request)
    state = next((one for one in STATES if one == typed.text("state")), None)
    states = None if state is None else (state,)
    found = await filtered(replays.find(there, visit.who, states, cursor=typed.maybe("cursor")))
    return render.page(request, "replays.html", status=found.status, found=found, states=STATES, state=state)


@router.get("/replays/{replay_id}")
async def one(request: Request, visit: Visiting, there: Provided, replay_id: str) -> Response:
    """Show a job, with how far it is: asked for again every second while it runs."""
    return await _show(request, there, visit.who, replay_id, Failed())


@router.post("/replays/{replay_id}/{turning}")
async def turn(
    request: Request, visit: Visiting, there: Provided, replay_id: str, turning: Turning
) -> Response:
    """Pause, resume or cancel a job."""
    typed = await of_form(request)
    reason = typed.text("reason")
    doing: Mapping[Turning, Callable[[], Awaitable[Replay]]] = {
        "pause": lambda: replays.pause(there, visit.who, replay_id, reason=reason),
        "resume": lambda: replays.resume(
            there, visit.who, replay_id, keep_going=typed.ticked("keep_going"), reason=reason
        ),
        "cancel": lambda: replays.cancel(there, visit.who, replay_id, reason=reason),
    }
    try:
        await doing[turning]()
    except NOT_DONE as wrong:
        failed = Failed.of(turning, typed, wrong)
        return await _show(request, there, visit.who, replay_id, failed)
    words = {"pause": "paused-replay", "resume": "resumed", "cancel": "cancelled"}
    return said.back(f"/replays/{replay_id}", words[turning])


async def _show(
    request: Request, there: Services, who: Principal, replay_id: str, failed: Failed
) -> Response:
    typed = of_address(request)
    state = next((one for one in ITEM_STATES if one == typed.text("state")), None)
    wanted = None if state is None else (state,)
    (job, progress), items = await asyncio.gather(
        replays.get(there, who, replay_id),
        filtered(replays.items(there, who, replay_id, wanted, cursor=typed.maybe("cursor"))),
    )
    page = render.page(
        request,
        "replay.html",
        status=items.status if failed.status == 200 else failed.status,
        job=job,
        progress=progress,
        items=items,
        counts=dict(zip(ITEM_STATES, progress, strict=True)),
        state=state,
        errors=failed.errors,
        refused=failed.refused,
        failed=failed.form,
        typed_reason=failed.typed.text("reason") if failed.typed else "",
        is_live=job.state in ("running", "sent"),
    )
    page.headers.update(failed.headers)
    return page
