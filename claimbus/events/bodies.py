"""JSON bodies: bytes to object and back, and the check of an object against its schema."""

import json
from typing import TYPE_CHECKING, Any, Final

import orjson

from claimbus.events.errors import InvalidEventError

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

Body = dict[str, Any]
"""A decoded JSON object."""


def is_json(content_type: str) -> bool:
    """Tell whether a content type is JSON: ``application/json`` or ``…+json``, whatever its parameters."""
    essence = content_type.partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json")


def encoded(body: Body) -> bytes:
    """Return a body as compact JSON in UTF-8: the same bytes for the same body."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def decoded(body: bytes) -> Any:  # noqa: ANN401 - any JSON value; the schema judges it
    """Return the JSON value of a body. Raises InvalidEventError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise InvalidEventError("body", f"is not JSON in UTF-8 (line {wrong.lineno})") from wrong


class Schema:
    """A JSON Schema (draft 2020-12), compiled when first needed.

    The validator is the ISO's: a participant's installation does without it.
    """

    __slots__ = ("_validator", "document")

    def __init__(self, document: Body) -> None:
        self.document: Final = document
        self._validator: Draft202012Validator | None = None

    def check(self, body: object) -> None:
        """Raise InvalidEventError with the path of the first fault, such as ``body.curtailments[0].mw``.

        The reason never repeats a value of the body.
        """
        if self._validator is None:
            self._validator = _compiled(self.document)
        try:
            self._validator.validate(body)
        except ValueError as wrong:
            raise _named(wrong) from wrong


def _compiled(document: Body) -> "Draft202012Validator":
    from jsonschema_rs import Draft202012Validator  # noqa: PLC0415 - see Schema

    return Draft202012Validator(document, validate_formats=True, mask="it")


def _named(wrong: ValueError) -> InvalidEventError:
    from jsonschema_rs import ValidationError  # noqa: PLC0415 - see Schema

    if isinstance(wrong, UnicodeEncodeError):
        return InvalidEventError("body", "has half a surrogate pair")
    if not isinstance(wrong, ValidationError):
        return InvalidEventError("body", "is nested too deeply")
    path = "body" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in wrong.instance_path)
    details = wrong.kind.as_dict()
    match wrong.kind.name:
        case "required":
            return InvalidEventError(f"{path}.{details['property']}", "is required")
        case "additionalProperties":
            return InvalidEventError(f"{path}.{details['unexpected'][0]}", "is not in the schema")
        case _:
            return InvalidEventError(path, wrong.message.removeprefix("it "))
