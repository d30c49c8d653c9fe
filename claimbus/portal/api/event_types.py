"""``/v1/event-types``: the catalogue."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from claimbus.events.catalogue import Retirement
from claimbus.portal.api.fields import Document, Items, Reason, Request
from claimbus.portal.desk import catalogue as desk
from claimbus.portal.desk.catalogue import Shown
from claimbus.portal.services import Caller, Provided

router = APIRouter(prefix="/v1/event-types", tags=["event types"])


def _day(value: object) -> object:
    if value is None or isinstance(value, date):
        return value
    if not isinstance(value, str) or len(value) != len("2026-01-31"):
        raise PydanticCustomError("day", "must be a day of the form 2026-01-31")
    try:
        return date.fromisoformat(value)
    except ValueError as wrong:
        raise PydanticCustomError("day", "must be a day of the form 2026-01-31") from wrong


Day = Annotated[date, BeforeValidator(_day)]
Name = Annotated[str, Path(pattern=r"^[a-z.-]{1,100}$", examples=["market.dam.closed"])]


class Dates(Document):
    """From when something is deprecated, and when it ends."""

    deprecated: date | None
    sunset: date | None

    @classmethod
    def of(cls, dates: Retirement) -> "Dates":
        """Return them as an answer."""
        return cls(deprecated=dates.deprecated, sunset=dates.sunset)


class VersionDocument(Document):
    """A version of a type's body: its JSON Schema, and the `dataschema` that events carry."""

    version: int
    dataschema: str
    document: dict[str, Any]
    dates: Dates


class EventTypeDocument(Document):
    """A type; `dates_are_set`: by an operator, not the catalogue. `is_open`: it may come to you."""

    name: str
    description: str
    versions: list[VersionDocument]
    example: dict[str, Any]
    dates: Dates
    dates_are_set: bool
    is_open: bool

    @classmethod
    def of(cls, shown: Shown) -> "EventTypeDocument":
        """Return a type as an answer."""
        return cls(
            name=shown.name,
            description=shown.description,
            versions=[
                VersionDocument(
                    version=one.version,
                    dataschema=one.uri,
                    document=dict(one.document),
                    dates=Dates.of(one.dates),
                )
                for one in shown.versions
            ],
            example=dict(shown.example),
            dates=Dates.of(shown.dates),
            dates_are_set=shown.are_set,
            is_open=shown.is_open,
        )


class NewDates(Request):
    """From when a type is deprecated, and when it ends; without both the catalogue's dates count again."""

    deprecated: Day | None = None
    sunset: Day | None = None
    reason: Reason = ""


@router.get("")
async def find_event_types(services: Provided, who: Caller) -> Items[EventTypeDocument]:
    """List all types by name."""
    found = await desk.types(services, who)
    return Items(items=[EventTypeDocument.of(one) for one in found], cursor=None)


@router.put("/{name}/dates")
async def set_dates(services: Provided, who: Caller, name: Name, dates: NewDates) -> EventTypeDocument:
    """Deprecate a type, and say when it ends. For operators."""
    return EventTypeDocument.of(
        await desk.set_dates(services, who, name, dates.deprecated, dates.sunset, reason=dates.reason)
    )
