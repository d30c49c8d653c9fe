"""``/v1/claims/{id}``: a claim's body, for those for whom it is, and nobody learns more than that."""

import base64
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

import structlog
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from claimbus.database import kept
from claimbus.database.access import Principal, Role
from claimbus.database.redemptions import Redemption
from claimbus.events.errors import UnavailableError
from claimbus.events.ticket import MAX_CLAIM_ID_LENGTH
from claimbus.portal.problems import RETRY_AFTER, ForbiddenError, ProblemError
from claimbus.portal.ranges import Span, UnsatisfiableError, is_current, span_of
from claimbus.portal.services import Services, caller
from claimbus.portal.services import services as services_of
from claimstore.claim import Claim
from claimstore.errors import ClaimError

LIGHT: Final = 64 * 1024
"""Bytes of the largest body that is given at once; a larger one goes piece by piece, as it is read."""

AT_MOST: Final = 32
"""Larger bodies that are given to one principal at a time; each takes 1 MiB or so of memory."""

router = APIRouter(prefix="/v1/claims", tags=["claims"])

_ID: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_CLAIM_ID_LENGTH}}}")

_ANSWERS: Final[dict[int | str, dict[str, str]]] = {
    200: {"description": "The body, with its own content type and its SHA-256 in Repr-Digest"},
    206: {"description": "The range of it that was asked for"},
    304: {"description": "You have it already: the ETag is the same"},
    404: {"description": "There never was such a claim"},
    410: {"description": "The claim was there, and has expired"},
    416: {"description": "The range is outside the body"},
    429: {"description": "Too many bodies at a time; see Retry-After"},
}

_log = structlog.get_logger("claimbus.portal.claims")


@router.get("/{claim_id}", response_class=Response, responses={**_ANSWERS})
@router.head("/{claim_id}", response_class=Response, responses={**_ANSWERS})
async def claim(claim_id: str, request: Request) -> Response:
    """Give the body of a claim, whole or a single range of it. Reading it consumes nothing."""
    services, principal = services_of(request), await caller(request)  # not as FastAPI's dependencies: 40 µs
    found = await services.store.find(claim_id) if _ID.fullmatch(claim_id) else None
    if found is None:
        raise await _absent(claim_id, principal, services)
    if not principal.may_see(found.event.type, found.event.audience):
        raise ForbiddenError
    asked, etag = request.headers, f'"{base64.urlsafe_b64encode(found.sha256).decode()}"'
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if is_current(asked.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    headers |= _headers(found)
    if request.method == "HEAD":
        return Response(headers=headers | {"content-length": str(found.size)})
    try:
        span = span_of(asked.get("range"), asked.get("if-range"), etag=etag, size=found.size)
    except UnsatisfiableError as outside:
        whole = {"content-range": f"bytes */{found.size}"}
        raise ProblemError(416, "the range is outside the body", headers=whole) from outside
    size = found.size if span is None else span.size
    if size > LIGHT and services.giving[principal.key] >= AT_MOST:
        after = {"retry-after": str(RETRY_AFTER)}
        raise ProblemError(429, f"read at most {AT_MOST} bodies at a time", headers=after)
    given = Redemption(datetime.now(UTC), principal.name, principal.organisation_id, claim_id, size)
    services.redemptions.add(given)
    status = 200
    if span is not None:
        status, headers["content-range"] = 206, f"bytes {span.start}-{span.stop - 1}/{found.size}"
    if size <= LIGHT and not found.chunks:
        return Response(found.event.body[slice(*span or (None,))], status, headers)
    headers["content-length"] = str(size)
    if not found.chunks:
        pieces = _pieces(found.event.body, span or Span(0, size))
    else:
        pieces = _told(found, services.store.part(found, *span) if span else services.store.body(found))
    return _Counted(services.giving, principal, pieces, status, headers)


class _Counted(StreamingResponse):
    """A body that goes out as it is read, and counts as given to somebody until then."""

    def __init__(
        self,
        giving: Counter[tuple[str | None, str]],
        principal: Principal,
        pieces: AsyncIterator[bytes],
        status: int,
        headers: dict[str, str],
    ) -> None:
        super().__init__(pieces, status, headers)
        self._giving = giving
        self._key = principal.key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._giving[self._key] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._giving[self._key] -= 1


async def _absent(claim_id: str, principal: Principal, services: Services) -> ProblemError:
    """Return what to say of a claim that is not there: whom it was for may know that it was."""
    handed = await services.handed.to(claim_id)
    audiences = await services.database.read(lambda sql: kept.audiences(sql, [claim_id]))
    if not handed and not audiences:
        return ProblemError(404, "there never was such a claim")
    known = principal.is_one_of(Role.OPERATOR) or any(map(principal.among, [handed, *audiences.values()]))
    return ProblemError(410, "the claim has expired") if known else ForbiddenError()


def _headers(found: Claim) -> dict[str, str]:
    type_ = found.event.datacontenttype
    return {
        "content-type": type_ if type_.isascii() and type_.isprintable() else "application/octet-stream",
        "repr-digest": f"sha-256=:{base64.b64encode(found.sha256).decode()}:",
        "accept-ranges": "bytes",
        # Whoever opens it in a browser must not run what an event holds as a part of the portal's own pages.
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
    }


async def _pieces(body: bytes, span: Span) -> AsyncIterator[bytes]:
    for start in range(span.start, span.stop, LIGHT):
        yield body[start : min(start + LIGHT, span.stop)]


async def _told(found: Claim, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces; a body that breaks off is told in the log, and breaks off the connection."""
    try:
        async for piece in pieces:
            yield piece
    except (ClaimError, UnavailableError) as broken:
        _log.error("body broke off", claim_id=found.id, reason=str(broken))
        raise
