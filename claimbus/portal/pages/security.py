"""What keeps a page to itself: nothing from elsewhere in it, no form from elsewhere, nothing kept."""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from claimbus.portal.problems import ProblemError
from claimbus.portal.services import services

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "content-security-policy": CSP,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
FORM: Final = "application/x-www-form-urlencoded"
MAX_FORM: Final = 1 << 20
"""Bytes of a form: an endpoint's authorities (PEM) are the longest that anybody sends."""
UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
FIELD: Final = "csrf"
"""The field of a form that holds the session's token; scripts send it as the header ``x-csrf``."""


def secured(response: Response) -> Response:
    """Give an answer the headers of a page; what is not static is kept nowhere."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("cache-control", "no-store")
    return response


def check_origin(request: Request) -> None:
    """Refuse a form that a browser says another site sent (Fetch Metadata; without it, ``Origin``)."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    public = urlsplit(services(request).public_url or str(request.url))
    here = f"{public.scheme}://{public.netloc}"
    foreign = site != "same-origin" if site is not None else origin is not None and origin != here
    if foreign:
        raise ProblemError(403, "this form was sent from another site")


async def read_form(request: Request) -> None:
    """Read a form, before anything takes it apart: plain fields of `MAX_FORM` bytes at most, and no files.

    Starlette puts the files of a form on the disk, however large, whoever sends them.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in {"", FORM}:
        raise ProblemError(415, f"a form is sent as {FORM}")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM:
            raise ProblemError(413, f"a form has {MAX_FORM >> 10:,} KiB at most")
    request._body = bytes(body)  # noqa: SLF001 - as Request.body() does, which has no bound


async def token_of(request: Request) -> str:
    """Return the token that a form or a script sends with what it asks for."""
    header = request.headers.get("x-csrf")
    if header is not None:
        return header
    value = (await request.form()).get(FIELD, "")
    return value if isinstance(value, str) else ""
