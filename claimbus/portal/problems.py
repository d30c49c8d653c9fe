"""Every error's one way out: a problem document (RFC 9457), without secrets or insides."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from claimbus.database.errors import DuplicateError, NotFoundError
from claimbus.deadletters.errors import NotPermittedError
from claimbus.events.errors import ClaimbusError, ConfigurationError, InvalidInputError, UnavailableError
from claimstore.errors import BodyTooLargeError, IdentityConflictError

MEDIA_TYPE: Final = "application/problem+json"

RETRY_AFTER: Final = 5
"""Seconds after which to try again when a service behind the portal is away."""

DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "No credential that counts"},
    403: {"description": "Not open to you"},
    503: {"description": "A service behind the portal is away; see Retry-After"},
}
"""What any route may answer, for its documentation."""

_log = structlog.get_logger("claimbus.portal")


class ProblemError(ClaimbusError):
    """An answer of this HTTP status; ``members`` stand in the document beside the detail."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.members = members


class UnauthenticatedError(ProblemError):
    """Nobody that is known: no credential, or one that does not count. The answer does not say which."""

    def __init__(self) -> None:
        super().__init__(
            401,
            "show a client certificate or a bearer token that counts",
            headers={"www-authenticate": 'Bearer realm="claimbus"'},
        )


class ForbiddenError(ProblemError):
    """Somebody known, to whom this is not open: always in the same words, so they tell nothing."""

    def __init__(self) -> None:
        super().__init__(403, "this is not open to you")


AsPage = Callable[[Request, ProblemError], Awaitable[Response]]
"""Makes the page of a problem."""


def answer(problem: ProblemError) -> Response:
    """Return the problem document."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        **problem.members,
    }
    return Response(
        orjson.dumps(document),
        problem.status,
        {"cache-control": "no-store", **(problem.headers or {})},
        MEDIA_TYPE,
    )


def problem_of(error: Exception) -> ProblemError:
    """Return the problem that an error is to whoever asked."""
    match error:
        case ProblemError():
            return error
        case NotPermittedError():
            return ForbiddenError()
        case UnavailableError():
            after = {"retry-after": str(RETRY_AFTER)}
            return ProblemError(503, "a service behind the portal is away; try again", headers=after)
        case HTTPException():
            return ProblemError(error.status_code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            return _invalid(error)
        case ConfigurationError():
            return ProblemError(500, "the portal is set up wrongly")
        case InvalidInputError():
            return ProblemError(_status(error), error.reason, field=error.field)
        case _:
            return ProblemError(500, "something went wrong here")


def install(app: FastAPI, as_page: AsPage) -> None:
    """Let every error of an application leave as a problem document, and as a page to who looks for one."""
    app.state.as_page = as_page
    for kind in (ClaimbusError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answered)


async def _answered(connection: HTTPConnection, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("failed", path=connection.url.path, status=problem.status, reason=str(error))
    if isinstance(connection, Request) and _looks_for_a_page(connection):
        as_page: AsPage = connection.app.state.as_page
        return await as_page(connection, problem)
    return answer(problem)


def _looks_for_a_page(request: Request) -> bool:
    """Tell a browser that was given a wrong address from a program: it asks for HTML first."""
    accepted = request.headers.get("accept", "")
    return accepted.startswith("text/html") and not request.url.path.startswith("/v1/")


def _status(error: InvalidInputError) -> int:
    match error:
        case NotFoundError():
            return 404
        case DuplicateError() | IdentityConflictError():
            return 409
        case BodyTooLargeError():
            return 413
        case _:
            return 422


def _invalid(error: RequestValidationError) -> ProblemError:
    errors: list[dict[str, Any]] = [
        {"field": ".".join(map(str, one["loc"][1:])) or one["loc"][0], "reason": one["msg"]}
        for one in error.errors()
    ]
    unreadable = any(one["type"] == "json_invalid" for one in error.errors())
    return ProblemError(400 if unreadable else 422, "the request is not valid", errors=errors)
