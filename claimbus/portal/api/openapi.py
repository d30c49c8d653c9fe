"""The interface's own description: who may ask how, and errors as they are."""

from typing import Any, Final

from fastapi import FastAPI

from claimbus.portal.problems import MEDIA_TYPE

SCHEMES: Final[dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token of 'claimbus access'."},
    "mutualTLS": {"type": "mutualTLS", "description": "A client certificate that the portal knows."},
}

OPEN: Final = frozenset({"/healthz", "/readyz", "/asyncapi.json"})
"""What is open to everybody."""

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "A problem (RFC 9457). `field` names what is at fault, `errors` each of several.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "reason": {"type": "string"}},
                "required": ["field", "reason"],
            },
        },
    },
}

ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "No JSON, or no request that can be read"},
    404: {"description": "There is no such thing; to all but operators 403"},
    409: {"description": "It is there already, or under way"},
    422: {"description": "Not valid; the member `field`, or `errors`, names what is at fault"},
    429: {"description": "Too many requests; see Retry-After"},
}
"""What any route of the desk may answer, besides what every route may."""

_FASTAPIS: Final = ("HTTPValidationError", "ValidationError")
_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch", "head", "options"})


def describe(app: FastAPI) -> None:
    """Let an application tell of its errors, and of how to say who asks."""
    plain = app.openapi

    def told() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain())
        return app.openapi_schema

    app.openapi = told  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = {name: one for name, one in components.get("schemas", {}).items() if name not in _FASTAPIS}
    components |= {"securitySchemes": SCHEMES, "schemas": schemas | {"Problem": PROBLEM}}
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method not in _METHODS:
                continue
            operation["security"] = [] if path in OPEN else [{name: []} for name in SCHEMES]
            for status, answer in operation["responses"].items():
                if status >= "400" and path != "/readyz":  # which answers the same with 503
                    answer["content"] = problem
    return document
