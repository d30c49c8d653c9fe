"""The catalogue of event types: what is said, in which form, and what is being retired."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from claimbus.events.catalogue import lookup
from claimbus.events.errors import InvalidInputError
from claimbus.portal.desk import catalogue
from claimbus.portal.pages import choosing, render
from claimbus.portal.pages.routes import pages
from claimbus.portal.pages.session import Visiting
from claimbus.portal.pages.typed import of_address
from claimbus.portal.problems import ProblemError
from claimbus.portal.services import Provided

DEEPEST: Final = 4

_WORDS: Final[Mapping[str, str]] = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "length at least {}",
    "maxLength": "at most {}",
    "minItems": "at least {} of them",
    "pattern": "matches {}",
}

router = pages()


class Property(NamedTuple):
    """A field of a body: where it stands (``curtailments[].mw``), and what may stand there."""

    path: str
    kind: str
    required: bool
    limits: str


@router.get("/events")
async def every(request: Request, visit: Visiting, there: Provided) -> Response:
    """List the types by domain."""
    typed = of_address(request)
    wanted = typed.text("text").lower()
    found = await catalogue.types(there, visit.who)
    types = [one for one in found if wanted in f"{one.name} {one.description}".lower()]
    return render.page(request, "events.html", domains=choosing.domains(types), count=len(types), typed=typed)


@router.get("/events/{name}")
async def one(request: Request, visit: Visiting, there: Provided, name: str) -> Response:
    """Show a type: its versions, the fields of its body, an example."""
    types = {one.name: one for one in await catalogue.types(there, visit.who)}
    try:
        known = lookup(name)
    except InvalidInputError as unknown:
        raise ProblemError(404, unknown.reason) from unknown
    kind, wanted = types[name], of_address(request).text("version")
    shown = next((one for one in kind.versions if str(one.version) == wanted), kind.versions[-1])
    example = known.example
    for older in reversed(known.versions[:-1]):
        if older.version >= shown.version and older.downgrade is not None:
            example = older.downgrade(example)
    return render.page(
        request,
        "event.html",
        kind=kind,
        ordering_key=known.ordering_key,
        shown=shown,
        properties=tuple(properties(shown.document)),
        example=json.dumps(example, indent=2, ensure_ascii=False),
        schema=json.dumps(shown.document, indent=2, ensure_ascii=False),
    )


def properties(schema: Mapping[str, Any], path: str = "", depth: int = 0) -> Iterator[Property]:
    """Yield the fields of an object's schema, those of objects within it too."""
    required = schema.get("required", ())
    for name, of_field in schema.get("properties", {}).items():
        here = f"{path}{name}"
        yield Property(here, _kind(of_field), name in required, _limits(of_field))
        inner = of_field.get("items", of_field)
        if depth < DEEPEST and isinstance(inner, Mapping) and inner.get("type") == "object":
            yield from properties(inner, f"{here}{'[]' if 'items' in of_field else ''}.", depth + 1)


def _kind(schema: Mapping[str, Any]) -> str:
    kinds = schema.get("type", "boolean" if isinstance(schema.get("const"), bool) else "one of")
    text = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    return f"{text}, {schema['format']}" if "format" in schema else text


def _limits(schema: Mapping[str, Any]) -> str:
    told = [text.format(schema[name]) for name, text in _WORDS.items() if name in schema]
    if "enum" in schema:
        told.append(", ".join(map(str, schema["enum"])))
    if "const" in schema:
        told.append(f"always {json.dumps(schema['const'])}")
    items = schema.get("items")
    if isinstance(items, Mapping) and "enum" in items:
        told.append("of " + ", ".join(map(str, items["enum"])))
    return "; ".join(told)
