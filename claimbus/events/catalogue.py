"""Every event type: the schema of its body in each version, its ordering key, and when it is retired.

A producer publishes the newest version of a body; `convert` makes an older one for a participant that still
reads that.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, NamedTuple

from claimbus.events import event as wire
from claimbus.events import schemas
from claimbus.events.bodies import Body, Schema, decoded, encoded, is_json
from claimbus.events.errors import InvalidEventError
from claimbus.events.event import Event

OUTAGE_CHANGES: Final = ("created", "changed", "status-changed", "ended", "cancelled")
ENDPOINT_EVENTS: Final = ("test", "held", "released", "disabled")
WINDOW_EVENTS: Final = ("opened", "closing-soon", "closed", "reopened", "reclosed")
RESULT_EVENTS: Final = ("results-published", "publication-delayed", "price-corrected")
MARKET_EVENTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "dam": WINDOW_EVENTS + RESULT_EVENTS,
        "ruc": RESULT_EVENTS,  # runs on the bids of the day-ahead market: it has no window of its own
        "hasp": WINDOW_EVENTS + RESULT_EVENTS,
        "fmm": WINDOW_EVENTS + RESULT_EVENTS,
        "rtm": WINDOW_EVENTS + RESULT_EVENTS,
    }
)
"""The events that each market has."""
HOURLY_MARKETS: Final = frozenset({"hasp", "fmm", "rtm"})
"""Their window closes for a trade date and hour, not for a whole trade date."""


class Retirement(NamedTuple):
    """The days of the headers ``Deprecation`` and ``Sunset``."""

    deprecated: date | None
    sunset: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaVersion:
    """One version of a body. ``downgrade`` makes it from the body of the next newer version."""

    version: int
    uri: str
    schema: Schema = field(repr=False)
    downgrade: Callable[[Body], Body] | None = field(default=None, repr=False)
    deprecated: date | None = None
    sunset: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """What may be said under one name.

    ``versions`` ascend. ``ordering_key`` names the fields of the body whose values make the attribute
    ``partitionkey``. ``deprecated`` and ``sunset`` are the whole type's; `dataclasses.replace` sets others.
    ``example`` is a body of the newest version.
    """

    name: str
    description: str
    versions: tuple[SchemaVersion, ...]
    ordering_key: tuple[str, ...]
    example: Body = field(repr=False)
    deprecated: date | None = None
    sunset: date | None = None

    @property
    def newest(self) -> SchemaVersion:
        """The version to publish."""
        return self.versions[-1]

    def partitionkey(self, body: Body) -> str:
        """Return what an event with this body is ordered by: ``15120034``, ``rtm/2026-01-15/18``."""
        return "/".join(str(body[name]) for name in self.ordering_key if name in body)


def lookup(name: str) -> EventType:
    """Return the type of this name. Raises InvalidEventError, with a near miss if there is one."""
    kind = EVENT_TYPES.get(name)
    if kind is not None:
        return kind
    near = get_close_matches(name, EVENT_TYPES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InvalidEventError("type", f"{name!r} is not in the catalogue{hint}")


def schema_uri(name: str, version: int) -> str:
    """Return the attribute ``dataschema`` of a type in a version."""
    return f"urn:claimbus:schema:{name}:{version}"


def check(event: Event) -> None:
    """Check an event before it is published: wire limits, type, body. Raises InvalidEventError.

    The error's field is the attribute at fault, or the path in the body: ``body.curtailments[0].mw``. A body
    that is not JSON is not looked into.
    """
    admit(event)


def admit(event: Event) -> Event:
    """`check` an event and return it with what the catalogue knows: ``dataschema``, ``partitionkey``."""
    wire.check(event)
    kind = lookup(event.type)
    if not is_json(event.datacontenttype):
        return event
    newest = kind.newest
    if event.dataschema is not None and event.dataschema != newest.uri:
        raise InvalidEventError("dataschema", f"is not that of the newest version, {newest.uri}")
    body = decoded(event.body)
    newest.schema.check(body)
    partitionkey = kind.partitionkey(body)
    if event.partitionkey is not None and event.partitionkey != partitionkey:
        raise InvalidEventError("partitionkey", f"is not what the body says: {partitionkey!r}")
    if event.dataschema is None or event.partitionkey is None:
        return replace(event, dataschema=newest.uri, partitionkey=partitionkey)
    return event


def version_of(event: Event) -> SchemaVersion:
    """Return the version of an event's body by its ``dataschema``; without one, the newest."""
    kind = lookup(event.type)
    known = _version_of(event, kind)
    if known is None:
        raise InvalidEventError("dataschema", f"{event.dataschema!r} is no schema of {kind.name}")
    return known


def _version_of(event: Event, kind: EventType) -> SchemaVersion | None:
    if event.dataschema is None:
        return kind.newest
    return next((known for known in kind.versions if known.uri == event.dataschema), None)


def convert(event: Event, version: int) -> Event:
    """Return the event with its body in an older version.

    An event of this version or an older one, or whose body is not JSON, comes back as it is. Raises
    InvalidEventError for a version that the type does not have.
    """
    kind = lookup(event.type)
    wanted = next((known for known in kind.versions if known.version == version), None)
    if wanted is None:
        raise InvalidEventError("dataschema", f"{kind.name} has no version {version}")
    if not is_json(event.datacontenttype):
        return event
    current = version_of(event)
    if current.version <= version:
        return event
    body = decoded(event.body)
    for older in reversed(kind.versions):
        if version <= older.version < current.version and older.downgrade is not None:
            body = older.downgrade(body)
    return replace(event, body=encoded(body), dataschema=wanted.uri)


def retirement(event: Event, types: Mapping[str, EventType] | None = None) -> Retirement:
    """Return when the event's type is retired or, if that stays, its version.

    ``types`` is the catalogue with other dates, as configured. What the catalogue does not know, a type that
    has gone or the schema of a body that is not JSON, has no dates.
    """
    kind = (EVENT_TYPES if types is None else types).get(event.type)
    if kind is None:
        return Retirement(None, None)
    if kind.deprecated or kind.sunset:
        return Retirement(kind.deprecated, kind.sunset)
    version = _version_of(event, kind)
    return Retirement(version.deprecated, version.sunset) if version else Retirement(None, None)


def _version(name: str, version: int, document: Body) -> SchemaVersion:
    uri = schema_uri(name, version)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": uri}
    return SchemaVersion(version=version, uri=uri, schema=Schema(head | document))


def _types() -> Iterator[EventType]:
    for change in OUTAGE_CHANGES:
        name = f"oms.resource-outage.{change}"
        first = replace(
            _version(name, 1, schemas.resource_outage_v1()),
            downgrade=schemas.resource_outage_v2_to_v1,
            deprecated=date(2026, 10, 1),
            sunset=date(2027, 10, 1),
        )
        yield EventType(
            name=name,
            description=f"An outage of a generating resource: {change}.",
            versions=(first, _version(name, 2, schemas.resource_outage(change))),
            ordering_key=("mrid",),
            example=schemas.resource_outage_example(change),
        )
        name = f"oms.transmission-outage.{change}"
        yield EventType(
            name=name,
            description=f"An outage of a line, a transformer or a bus: {change}.",
            versions=(_version(name, 1, schemas.transmission_outage(change)),),
            ordering_key=("mrid",),
            example=schemas.transmission_outage_example(change),
        )
    for market, events in MARKET_EVENTS.items():
        for event in events:
            hour = "absent"
            if market in HOURLY_MARKETS:
                hour = "required" if event in WINDOW_EVENTS else "optional"
            name = f"market.{market}.{event}"
            yield EventType(
                name=name,
                description=f"{market.upper()} {event.replace('-', ' ')}.",
                versions=(_version(name, 1, schemas.market(market, hour)),),
                ordering_key=("market", "trade_date", "hour"),
                example=schemas.market_example(market, hourly=market in HOURLY_MARKETS),
            )
    name = "system.notice.published"
    yield EventType(
        name=name,
        description="A notice to participants, with the date from which it holds.",
        versions=(_version(name, 1, schemas.NOTICE),),
        ordering_key=("notice_id",),
        example=schemas.NOTICE_EXAMPLE,
    )
    for event in ENDPOINT_EVENTS:
        name = f"system.endpoint.{event}"
        yield EventType(
            name=name,
            description=f"One of the participant's own endpoints: {event}.",
            versions=(_version(name, 1, schemas.endpoint(event)),),
            ordering_key=("endpoint",),
            example=schemas.endpoint_example(event),
        )


EVENT_TYPES: Final[Mapping[str, EventType]] = MappingProxyType({kind.name: kind for kind in _types()})
