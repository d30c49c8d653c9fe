"""An event as endpoints want it, and what those that want it so are sent: made once, when asked for."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from datetime import time as clock
from functools import cached_property

from claimbus.events import catalogue
from claimbus.events.catalogue import EVENT_TYPES, EventType
from claimbus.events.event import Event
from consumers.binding import EventHeaders, event_headers, retirement_headers


class Rendered:
    """An event in one version of its schema; ``types`` have the dates that are in force."""

    def __init__(self, event: Event, types: Mapping[str, EventType] = EVENT_TYPES) -> None:
        self.event = event
        self._types = types

    @classmethod
    def of(
        cls, event: Event, version: int | None, types: Mapping[str, EventType] = EVENT_TYPES
    ) -> "Rendered":
        """Render it in a version, or in the type's oldest or newest where it has no such version.

        None: as it is. Raises InvalidEventError.
        """
        if version is None:
            return cls(event, types)
        known = [one.version for one in catalogue.lookup(event.type).versions]
        return cls(catalogue.convert(event, min(max(version, known[0]), known[-1])), types)

    @cached_property
    def attributes(self) -> Mapping[str, str]:
        """Its CloudEvents attributes in their string form."""
        return self.event.attributes()

    @cached_property
    def retiring(self) -> tuple[datetime | None, datetime | None]:
        """From when its type, or this version of it, is deprecated, and when it goes; None: it stays."""
        deprecated, sunset = catalogue.retirement(self.event, self._types)
        return _midnight(deprecated), _midnight(sunset)

    @cached_property
    def retirement(self) -> Mapping[str, str]:
        """The same as the headers ``deprecation`` and ``sunset``, those that there are."""
        return retirement_headers(*self.retiring)

    @cached_property
    def headers(self) -> EventHeaders:
        """Its headers in binary mode. Raises InvalidEventError."""
        deprecation, sunset = self.retiring
        return event_headers(self.event, deprecation=deprecation, sunset=sunset)


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, clock.min, UTC)
