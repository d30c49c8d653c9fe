"""The journal: what was published, whatever became of it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response

from claimbus.database.access import Principal
from claimbus.database.schema import moment_of
from claimbus.events.markets import PACIFIC
from claimbus.portal.desk import journal
from claimbus.portal.desk.journal import Found, Wanted
from claimbus.portal.pages import render
from claimbus.portal.pages.operator.operating import Operating
from claimbus.portal.pages.parts import Part, filtered
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.typed import Typed, of_address
from claimbus.portal.services import Provided, Services

AT_FIRST: Final = timedelta(hours=1)
"""How far back the form begins."""

FILTERS: Final = ("since", "until", "type", "partitionkey", "message_id")

FIELDS: Final[Mapping[str, str]] = {"subscription": "type"}
"""Where the form has what the desk found wrong, if it calls it otherwise."""

router = pages()


@router.get("/journal")
async def searched(request: Request, there: Provided, who: Operating) -> Response:
    """Show the form and, once it was filled in, what is found."""
    typed, begin = of_address(request), datetime.now(UTC) - AT_FIRST
    found: Part[Found] = Part()
    if typed.fields:
        found = await filtered(_search(there, who, typed, begin))
    entries = () if found.value is None else found.value.entries
    tickets = [
        (one.ticket, moment_of(one.ticket.timestamp * 1000), one.routing_key.rpartition(".")[2])
        for one in entries
        if one.ticket is not None
    ]
    return render.page(
        request,
        "operator/journal.html",
        status=found.status,
        typed=typed,
        is_filtered=bool(typed.fields),
        begin=typed.text("since") or begin.astimezone(ZoneInfo(PACIFIC)).strftime("%Y-%m-%dT%H:%M"),
        found=found,
        wrong={FIELDS.get(name, name): reason for name, reason in (found.wrong or {}).items()},
        tickets=tickets,
        following=_following(typed, tickets[-1][1]) if tickets else "",
    )


def _following(typed: Typed, last: datetime) -> str:
    """Return the same search from the last entry on, as the end of an address."""
    return urlencode([("since", last.isoformat()), *typed.pairs(one for one in FILTERS if one != "since")])


async def _search(there: Services, who: Principal, typed: Typed, begin: datetime) -> Found:
    wanted = Wanted(
        since=typed.moment("since") or begin,
        until=typed.moment("until"),
        type=typed.maybe("type"),
        partitionkey=typed.maybe("partitionkey"),
        message_id=typed.maybe("message_id"),
    )
    return await journal.search(there, who, wanted)
