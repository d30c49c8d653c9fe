"""Event types: what may come, what it looks like, and until when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from claimbus.database import type_dates
from claimbus.database.access import Principal, Role
from claimbus.database.audit import Act
from claimbus.events import catalogue
from claimbus.events.catalogue import EventType, Retirement
from claimbus.portal.desk import scope
from claimbus.portal.services import Services

Document = Mapping[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a type's body; ``uri`` is the attribute ``dataschema``, ``document`` the JSON Schema."""

    version: int
    uri: str
    document: Document
    dates: Retirement


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An event type. ``versions`` ascend, and ``example`` is a body of the newest.

    ``dates`` are the whole type's and go before its versions' own; ``are_set``: an operator has set them.
    ``is_open``: it may come to whoever asks, by at least one of its participants.
    """

    name: str
    description: str
    versions: tuple[Version, ...]
    example: Document
    dates: Retirement
    are_set: bool
    is_open: bool


async def types(services: Services, who: Principal) -> tuple[Shown, ...]:
    """Return all types by name: that one is not open to somebody is no secret, its events are."""
    scope.must_be(who, *scope.LOOKING)
    in_force, chosen = await services.database.read(
        lambda sql: (type_dates.types_in_force(sql), type_dates.find(sql))
    )
    return tuple(_shown(kind, who, are_set=name in chosen) for name, kind in sorted(in_force.items()))


async def set_dates(
    services: Services,
    who: Principal,
    name: str,
    deprecated: date | None,
    sunset: date | None,
    *,
    reason: str = "",
) -> Shown:
    """Set from when a type is deprecated, and when it ends; without both the catalogue's dates count again.

    Workers and streams heed it within a look at the database, half a minute. Raises InvalidInputError.
    """
    scope.must_be(who, Role.OPERATOR)
    catalogue.lookup(name)
    days, act = Retirement(deprecated, sunset), Act(who.name, reason)
    if days == Retirement(None, None):
        await services.database.run(lambda sql: type_dates.remove(sql, name, act))
    else:
        await services.database.run(lambda sql: type_dates.put(sql, name, days, act))
    return next(one for one in await types(services, who) if one.name == name)


def _shown(kind: EventType, who: Principal, *, are_set: bool) -> Shown:
    return Shown(
        name=kind.name,
        description=kind.description,
        versions=tuple(
            Version(
                version=one.version,
                uri=one.uri,
                document=one.schema.document,
                dates=Retirement(one.deprecated, one.sunset),
            )
            for one in kind.versions
        ),
        example=kind.example,
        dates=Retirement(kind.deprecated, kind.sunset),
        are_set=are_set,
        is_open=who.is_one_of(Role.OPERATOR) or any(one.is_entitled(kind.name) for one in who.participants),
    )
