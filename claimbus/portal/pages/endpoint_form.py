"""The settings of an endpoint as fields of a form, and back."""

from collections.abc import Mapping
from typing import Final, cast

from claimbus.database.endpoint import DEFAULTS, Endpoint, Kind, Settings
from claimbus.database.endpoint_limits import RANGES
from claimbus.events.errors import InvalidInputError
from claimbus.portal.pages.typed import Typed

FIELDS: Final = (
    "name",
    "url",
    "mode",
    "ordered",
    "latest_only",
    "concurrency",
    "rate_limit",
    "timeout_s",
    "age_limit_s",
    "schema_version",
    "ca_pem",
)

_HOUR: Final = 3600


def read(typed: Typed, kind: Kind) -> Settings:
    """Return the settings that were typed; what is blank is as the defaults are. Raises InvalidInputError."""
    concurrency = typed.whole("concurrency")
    settings: Settings = {
        "name": typed.text("name"),
        "mode": "claim" if typed.text("mode") == "claim" else "body",
        "ordered": typed.ticked("ordered"),
        "latest_only": typed.ticked("latest_only"),
        "concurrency": DEFAULTS["concurrency"] if concurrency is None else concurrency,
        "rate_limit": typed.number("rate_limit"),
        "age_limit_s": _seconds(typed),
        "schema_version": typed.whole("schema_version"),
    }
    if kind == "webhook":
        timeout_s = typed.number("timeout_s")
        settings["url"] = typed.maybe("url")
        settings["timeout_s"] = DEFAULTS["timeout_s"] if timeout_s is None else timeout_s
        settings["ca_pem"] = typed.maybe("ca_pem")
    return settings


def changed(endpoint: Endpoint, settings: Settings) -> Settings:
    """Return those settings that differ from an endpoint's."""
    same = {name for name, value in settings.items() if getattr(endpoint, name) == value}
    return cast("Settings", {name: value for name, value in settings.items() if name not in same})


def shown(settings: Mapping[str, object] | Endpoint) -> dict[str, str]:
    """Return what stands in the fields for settings, or for those of an endpoint."""
    values = (
        {name: getattr(settings, name) for name in FIELDS} if isinstance(settings, Endpoint) else settings
    )
    texts = {name: _text(values.get(name)) for name in FIELDS}
    age = values.get("age_limit_s")
    return texts | {"age_limit_s": f"{age / _HOUR:g}" if isinstance(age, int) else ""}


def as_typed(typed: Typed) -> dict[str, str]:
    """Return what stands in the fields of a form that was not accepted."""
    return {name: typed.text(name) for name in FIELDS}


def _seconds(typed: Typed) -> int:
    hours = typed.number("age_limit_s")
    if hours is None:
        return DEFAULTS["age_limit_s"]
    least, most = (bound / _HOUR for bound in RANGES["age_limit_s"])
    if not least <= hours <= most:
        raise InvalidInputError("age_limit_s", f"must be from {least:.2f} to {most:g} hours")
    return round(hours * _HOUR)


def _text(value: object) -> str:
    match value:
        case None | False:
            return ""
        case float():
            return f"{value:g}"
        case _:
            return str(value)
