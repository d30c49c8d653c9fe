"""``POST /v1/events``: events from ISO systems in any language, answered once they are published.

CloudEvents in binary, structured and batch mode. The answer 202 means that Redis has the body and RabbitMQ
confirmed the ticket, or that this was so before.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from claimbus.database.access import Principal, Role
from claimbus.events.bodies import decoded, is_json
from claimbus.events.errors import ClaimbusError, InvalidEventError, UnavailableError
from claimbus.events.event import Event
from claimbus.portal.ingest_events import (
    BATCH,
    IDEMPOTENCY_KEY,
    STRUCTURED,
    Defaults,
    binary,
    idempotency_key,
    structured,
)
from claimbus.portal.ingest_intake import Intake, Outcome
from claimbus.portal.problems import ProblemError, problem_of
from claimbus.portal.services import Provided, having
from claimstore.errors import BodyTooLargeError
from producers.producer import Receipt

MAX_BATCH: Final = 1000
"""Events of one request."""

router = APIRouter(tags=["events"])

_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    202: {"description": "Published: confirmed, or known to have been before (duplicate)"},
    207: {"description": "A batch of which some were not published; each result has its status"},
    409: {"description": "The source and ID were used before, with another body"},
    413: {"description": "Too large"},
    415: {"description": "Not a body of this bus"},
    422: {"description": "Not valid; the member field names what is at fault"},
}
_OBJECT: Final = {"schema": {"type": "object"}}
_REQUEST: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": _OBJECT,
            STRUCTURED: _OBJECT,
            BATCH: {"schema": {"type": "array", "items": {"type": "object"}, "maxItems": MAX_BATCH}},
        },
    }
}


@router.post(
    "/v1/events", status_code=202, response_class=JSONResponse, responses=_ANSWERS, openapi_extra=_REQUEST
)
async def publish(
    request: Request, services: Provided, publisher: Annotated[Principal, Depends(having(Role.PUBLISHER))]
) -> Response:
    """Publish one event or several. Send the same again whenever the answer did not come: it is recognised.

    With ``ce-`` headers the body is the event's own; the media types of CloudEvents hold it in JSON. Who may
    see it stands in the header ``claimbus-audience``, or the member ``audience``: ``all`` or participant IDs.
    """
    intake, headers = services.intake, request.headers
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    _check_media(media_type, headers.get("content-encoding", "identity"))
    if int(headers.get("content-length", 0)) > intake.max_body:
        raise BodyTooLargeError(int(headers["content-length"]), intake.max_body)
    own = Defaults(source=intake.source_of(publisher), at=datetime.now(UTC), id=idempotency_key(headers))
    if media_type == BATCH:
        events = _batch(decoded(await _whole(request, intake)), own)
        return _results(await intake.publish_all(events, publisher))
    if media_type == STRUCTURED:
        event = structured(decoded(await _whole(request, intake)), own)
        await intake.check(event, publisher)
    else:
        event = binary(headers, own)
        await intake.check(event, publisher)
        if not is_json(media_type):
            return _accepted(await intake.publish_stream(event, _pieces(request), publisher))
        event = replace(event, body=await _whole(request, intake))
    return _accepted(await intake.publish(event, publisher))


def _check_media(media_type: str, encoding: str) -> None:
    if encoding != "identity":
        raise ProblemError(415, "send the body without a Content-Encoding", field="content-encoding")
    if media_type in ("", "application/x-www-form-urlencoded"):  # curl's, when it is not told
        raise ProblemError(415, "must say what the body is", field="content-type")
    if media_type.startswith("application/cloudevents") and media_type not in (STRUCTURED, BATCH):
        raise ProblemError(415, f"must be {STRUCTURED} or {BATCH}", field="content-type")


def _batch(documents: object, own: Defaults) -> list[Event | ClaimbusError]:
    if own.id is not None:
        raise InvalidEventError(IDEMPOTENCY_KEY, "is for one event; each of a batch has its id")
    if not isinstance(documents, list):
        raise InvalidEventError("body", "is no JSON array")
    if len(documents) > MAX_BATCH:
        raise ProblemError(413, f"a batch has {MAX_BATCH} events at most", field="body")
    events: list[Event | ClaimbusError] = []
    for document in documents:
        try:
            events.append(structured(document, own))
        except InvalidEventError as wrong:
            events.append(wrong)
    return events


async def _whole(request: Request, intake: Intake) -> bytes:
    body = bytearray()
    async for piece in _pieces(request):
        body += piece
        if len(body) > intake.max_body:
            raise BodyTooLargeError(len(body), intake.max_body)
    return bytes(body)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect as gone:
        raise ProblemError(400, "the body broke off") from gone


def _accepted(receipt: Receipt) -> Response:
    return JSONResponse(_told(receipt), 202)


def _results(outcomes: list[Outcome]) -> Response:
    """Answer a batch. If all of it may succeed later, so does the answer say."""
    failures = [one for one in outcomes if not isinstance(one, Receipt)]
    away = [one for one in failures if isinstance(one, UnavailableError)]
    if away and len(away) == len(outcomes):
        raise away[0]
    results = [
        {"status": 202, **_told(one)} if isinstance(one, Receipt) else _problem(one) for one in outcomes
    ]
    return JSONResponse({"results": results}, 207 if failures else 202)


def _told(receipt: Receipt) -> dict[str, Any]:
    return {"message_id": receipt.message_id, "duplicate": not receipt.published}


def _problem(error: ClaimbusError) -> dict[str, Any]:
    problem = problem_of(error)
    return {"status": problem.status, "detail": problem.detail, **problem.members}
