"""Templates to pages."""

import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from claimbus.database.access import Role
from claimbus.database.schema import moment_of
from claimbus.deadletters.legible import harmless
from claimbus.events.markets import PACIFIC
from claimbus.portal.desk import scope
from claimbus.portal.pages import axis, security
from claimbus.portal.pages.said import NAME, SAID
from claimbus.portal.pages.session import LoginRequiredError, Visit, visit_of
from claimbus.portal.pages.standing import plain
from claimbus.portal.problems import ProblemError
from claimbus.portal.services import services

STATIC: Final = Path(__file__).parent / "static"

NAV: Final = (
    ("/overview", "Overview", (Role.OPERATOR,)),
    ("/endpoints", "Endpoints", scope.LOOKING),
    ("/deliveries", "Deliveries", scope.LOOKING),
    ("/letters/groups", "Dead letters", scope.LOOKING),
    ("/replays", "Replays", scope.KEEPING),
    ("/recoveries", "Recoveries", scope.LOOKING),
    ("/participants", "Participants", (Role.OPERATOR,)),
    ("/journal", "Journal", (Role.OPERATOR,)),
    ("/parked", "Parked events", (Role.OPERATOR,)),
    ("/notices/new", "Notices", (Role.OPERATOR,)),
    ("/events", "Event types", scope.LOOKING),
    ("/credentials", "Credentials", scope.KEEPING),
    ("/audit", "Audit", (Role.UAA, Role.OPERATOR, Role.ADMIN)),
)
"""The menu: an address, its name, and to whom it is open."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_TURNING = {
    ord(one): one.encode("unicode_escape").decode()
    for one in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
}
_LEFT_OUT = re.compile("&lt;(text|url|mail|time|address|host|id|number)&gt;")


def page(request: Request, template: str, *, status: int = 200, **context: object) -> HTMLResponse:
    """Return a page. A template finds who visits, and where it is, besides what it is given."""
    visit: Visit | None = getattr(request.state, "visit", None)
    who = None if visit is None else visit.who
    is_operator = who is not None and who.is_one_of(Role.OPERATOR)
    everywhere: dict[str, Any] = {
        "request": request,
        "path": request.url.path,
        "environment": services(request).environment,
        "who": who,
        "csrf": "" if visit is None else visit.session.csrf,
        "is_operator": is_operator,
        "keeps": who is not None and who.is_one_of(Role.UAA, Role.OPERATOR),
        "nav": [] if who is None else [one[:2] for one in NAV if who.is_one_of(*one[2])],
        "theme": _theme(request),
        "now": datetime.now(UTC),
        "said": SAID.get(request.query_params.get(NAME, "")),
    }
    text = _templates.get_template(template).render(everywhere | context)
    return HTMLResponse(text, status)


async def problem(request: Request, found: ProblemError) -> Response:
    """Return the page that says what went wrong, and what to do."""
    try:
        await visit_of(request)
    except LoginRequiredError:
        pass
    except Exception:  # noqa: BLE001 - the database may be what is away
        request.state.visit = None
    answer = page(request, "problem.html", status=found.status, problem=found, back=_back(request))
    answer.headers.update(found.headers or {})
    return security.secured(answer)


def static() -> StaticFiles:
    """Return the files beside the templates, as an application to mount."""
    return StaticFiles(directory=STATIC)


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago a moment was, or how long until then: ``3 min ago``, ``in 2 days``."""
    seconds = (now - moment).total_seconds()
    text = duration(abs(seconds))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def duration(seconds: float) -> str:
    """Return a time for people: ``40 s``, ``3 min``, ``5 h``, ``12 days``."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.0f} h"
    return f"{seconds / _DAY:.0f} days"


def local(moment: datetime) -> str:
    """Return a moment in the ISO's own time: ``2026-01-15 10:00:00 PST``."""
    return moment.astimezone(ZoneInfo(PACIFIC)).strftime("%Y-%m-%d %H:%M:%S %Z")


def for_input(text: str) -> str:
    """Return a moment of an address as a form's field takes it: in the ISO's own time, to the minute."""
    try:
        moment = datetime.fromisoformat(text)
        here = moment.astimezone(ZoneInfo(PACIFIC)) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        return text  # as it was typed, beside what is wrong with it
    return here.strftime("%Y-%m-%dT%H:%M")


def hour(text: str) -> str:
    """Return the hour that begins at a moment, in the ISO's own time: ``2026-01-15 10:00 PST``."""
    return datetime.fromisoformat(text).astimezone(ZoneInfo(PACIFIC)).strftime("%Y-%m-%d %H:%M %Z")


def masked(error: str) -> Markup:
    """Return a group's error as HTML, with what differs from letter to letter marked as left out."""
    return Markup(_LEFT_OUT.sub(r'<i class="any">\1</i>', str(escape(error))))  # noqa: S704 - escaped first


def straight(value: object) -> object:
    """Return what a template puts in; what would turn the direction of the text around it is spelled out."""
    return value.translate(_TURNING) if isinstance(value, str) else value


def readable(head: bytes) -> str:
    """Return the beginning of what somebody else answered as harmless text."""
    return harmless(head.decode(errors="replace"))


def size_of(count: int) -> str:
    """Return a number of bytes for people: ``1.2 MiB``."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _back(request: Request) -> str:
    """Return the page of this site that led here; without one, the start."""
    came = urlsplit(request.headers.get("referer", ""))
    public = urlsplit(services(request).public_url or str(request.url))
    if came.netloc != public.netloc or not came.path.startswith("/") or came.path.startswith("//"):
        return "/"
    return came.path + (f"?{came.query}" if came.query else "")


def _theme(request: Request) -> str:
    chosen = request.cookies.get("theme")
    return chosen if chosen in {"light", "dark"} else "auto"


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("claimbus.portal.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=straight,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "ago": ago,
        "begun": axis.begun,
        "day": axis.day,
        "duration": duration,
        "for_input": for_input,
        "hour": hour,
        "local": local,
        "masked": masked,
        "moment": moment_of,
        "number": "{:,}".format,
        "plain": plain,
        "readable": readable,
        "size": size_of,
        "twice": lambda value: (value, value),
    }
    found.globals["version"] = version("claimbus")
    return found


_templates: Final = _environment()
