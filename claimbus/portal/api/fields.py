"""What requests and answers are made of, and what is the same for all of them."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictFloat, StrictInt
from pydantic_core import PydanticCustomError

from claimbus.database.page import Page

T = TypeVar("T")
Row = TypeVar("Row")

_MOMENT: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


class Document(BaseModel):
    """A JSON object of an answer."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Request(BaseModel):
    """A JSON object of a request: members that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Items(Document, Generic[T]):
    """A page of a list."""

    items: list[T]
    cursor: str | None = Field(description="Give it as `cursor` for what follows; null when this is all.")


def _moment(value: object) -> object:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
        raise PydanticCustomError("moment", "must be a date and time of RFC 3339, with its UTC offset")
    try:
        moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as wrong:
        raise PydanticCustomError("moment", "is no date and time that there is") from wrong
    if moment < _EPOCH:
        raise PydanticCustomError("moment", "must not be before 1970")
    return moment


Moment = Annotated[datetime, BeforeValidator(_moment)]
"""RFC 3339, with its offset from UTC."""

Flag = StrictBool
Whole = StrictInt
Number = StrictFloat | StrictInt

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_PRINTABLE: Final = r"^[^\x00-\x1f\x7f]*$"
_TEXT: Final = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

Word = Annotated[str, Field(min_length=1, max_length=200, pattern=_PRINTABLE)]
Words = Annotated[str, Field(max_length=200, pattern=_PRINTABLE)]
Text = Annotated[str, Field(max_length=20_000, pattern=_TEXT)]
Reason = Annotated[
    str,
    Field(
        max_length=1000, pattern=_TEXT, description="Why; it stands in the audit.", examples=["asked by PGAE"]
    ),
]
GivenReason = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1000,
        pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f\s][^\x00-\x1f\x7f]*$",
        description="Why; it stands in the audit.",
        examples=["the receiver was replaced"],
    ),
]
Pattern = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[a-z*#][a-z0-9.*#-]*$", examples=["oms.#"])
]
"""A pattern of event types."""

ID: Final = r"^[A-Za-z0-9_-]{1,100}$"
Id = Annotated[str, Field(pattern=ID)]
PathId = Annotated[str, Path(pattern=ID)]
ParticipantId = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{1,31}$", examples=["PGAE"])]
PathParticipantId = Annotated[str, Path(pattern=r"^[A-Z][A-Z0-9_]{1,31}$")]

Cursor = Annotated[
    str | None,
    Query(max_length=1000, pattern=_PRINTABLE, description="What an earlier page gave as `cursor`."),
]
Limit = Annotated[int, Query(ge=1, le=200, description="Items of a page, at most.")]
Search = Annotated[
    str, Query(max_length=200, pattern=_PRINTABLE, description="In its ID or one of its names.")
]

WantedId = Annotated[Id | None, Query()]
WantedMoment = Annotated[Moment | None, Query()]
WantedParticipant = Annotated[ParticipantId | None, Query()]
WantedWord = Annotated[Word | None, Query()]
"""Filters of lists; None: all."""


class Why(Request):
    """Why something is done."""

    reason: Reason = ""


class GivenWhy(Request):
    """Why something is done; it must be said."""

    reason: GivenReason


def page(found: Page[Row], of: type[T]) -> Items[T]:
    """Return a page as an answer."""
    items: list[Any] = [of.model_validate(one) for one in found.rows]  # type: ignore[attr-defined]  # a Document
    return Items(items=items, cursor=found.cursor)
