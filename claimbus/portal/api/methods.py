"""What a path takes, told where it is asked for with a method that it does not take."""

from http import HTTPMethod, HTTPStatus

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, compile_path

from claimbus.portal.problems import ProblemError, answer


def describe_methods(app: FastAPI) -> None:
    """Let the answer 405 name all methods of its path: Starlette names those of the first route only."""

    async def refused(request: Request, error: Exception) -> Response:
        del error
        headers = {"allow": ", ".join(sorted(_documented(app, request.url.path) or _routed(app, request)))}
        return answer(ProblemError(405, "the path does not take this method", headers=headers))

    app.add_exception_handler(HTTPStatus.METHOD_NOT_ALLOWED, refused)


def _documented(app: FastAPI, path: str) -> list[str]:
    """Return the methods of a path of the interface; one that is spelled out goes before a pattern."""
    paths = app.openapi()["paths"]
    patterns = (item for pattern, item in paths.items() if compile_path(pattern)[0].match(path))
    found: dict[str, object] = paths.get(path) or next(patterns, {})
    return [method.upper() for method in found]


def _routed(app: FastAPI, request: Request) -> list[str]:
    return [
        method
        for method in HTTPMethod
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]
