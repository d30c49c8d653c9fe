"""``/docs``: the HTTP interface as a page that needs nothing from elsewhere.

FastAPI's own page runs scripts of a public network: these would act as whoever looks, with the certificate
or the session that a browser has for the portal; and where that network is not reached, it stays empty.
"""

from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from claimbus.portal.pages import security

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Show the interface; programs read ``/openapi.json``."""
    return security.secured(HTMLResponse("\n".join(_page(request.app.openapi()))))


def _page(interface: dict[str, Any]) -> Iterator[str]:
    title, about = interface["info"]["title"], interface["info"]["description"]
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    yield '<link rel="stylesheet" href="/static/reference.css">'
    yield f"<h1>{escape(title)} {escape(interface['info']['version'])}</h1>"
    yield f'<p>{escape(about)} For programs: <a href="openapi.json">openapi.json</a>.</p>'
    for path, operations in interface["paths"].items():
        for method, operation in operations.items():
            yield f"<h2>{escape(method.upper())} {escape(path)}</h2>"
            yield f"<p>{escape(operation.get('description', ''))}</p><table>"
            for status, answer in sorted(operation["responses"].items()):
                yield f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td></tr>"
            yield "</table>"
    yield "</html>"
