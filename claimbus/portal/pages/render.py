"""Templates to pages."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from claimbus.database.access import Principal, Role
from claimbus.database.schema import moment_of
from claimbus.deadletters.legible import harmless
from claimbus.events.markets import PACIFIC
from claimbus.portal.pages import security
from claimbus.portal.pages.said import NAME, SAID
from claimbus.portal.pages.session import LoginRequiredError, Visit, visit_of
from claimbus.portal.problems import ProblemError
from claimbus.portal.services import services

STATIC: Final = Path(__file__).parent / "static"

OPERATOR_NAV: Final = (
    ("/overview", "Overview"),
    ("/endpoints", "Endpoints"),
    ("/deliveries", "Deliveries"),
    ("/letters/groups", "Dead letters"),
    ("/replays", "Replays"),
    ("/participants", "Participants"),
    ("/journal", "Journal"),
    ("/parked", "Parked events"),
    ("/notices/new", "Notices"),
    ("/events", "Event types"),
    ("/audit", "Audit"),
)
PARTICIPANT_NAV: Final = (
    ("/endpoints", "Endpoints"),
    ("/deliveries", "Deliveries"),
    ("/letters/groups", "Dead letters"),
    ("/events", "Event types"),
)
AUDIT_NAV: Final = (("/audit", "Audit"),)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


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
        "nav": () if who is None else _nav(who),
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
    answer = page(request, "problem.html", status=found.status, problem=found)
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


def _nav(who: Principal) -> tuple[tuple[str, str], ...]:
    """Return the addresses that are open to somebody, with their names."""
    if who.is_one_of(Role.OPERATOR):
        return OPERATOR_NAV
    looking = PARTICIPANT_NAV if who.is_one_of(Role.PARTICIPANT, Role.UAA) else ()
    return looking + (AUDIT_NAV if who.is_one_of(Role.UAA, Role.ADMIN) else ())


def _theme(request: Request) -> str:
    chosen = request.cookies.get("theme")
    return chosen if chosen in {"light", "dark"} else "auto"


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("claimbus.portal.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "ago": ago,
        "duration": duration,
        "local": local,
        "moment": moment_of,
        "number": "{:,}".format,
        "readable": readable,
        "size": size_of,
        "twice": lambda value: (value, value),
    }
    found.globals["version"] = version("claimbus")
    return found


_templates: Final = _environment()
