"""The settings of an endpoint, as options of ``endpoints add`` and ``endpoints change``."""

from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from claimbus.cli.durations import show_duration
from claimbus.cli.lookups import whole
from claimbus.cli.options import duration
from claimbus.cli.settings import Settings
from claimbus.database.endpoint import Mode
from claimbus.database.endpoint import Settings as EndpointSettings
from claimbus.events.errors import InvalidInputError

Id = Annotated[
    str,
    typer.Argument(
        parser=whole("endpoint"),
        metavar="ID",
        help="The endpoint's ID, from 'endpoints list'; a beginning is enough.",
    ),
]
Patterns = Annotated[
    list[str], typer.Argument(metavar="PATTERN", help="Event types: oms.#, market.dam.closed, # for all.")
]
Url = Annotated[str | None, typer.Option(help="Where events are posted to: https://…")]
Later = Annotated[
    bool, typer.Option("--later", help="Do not ask the receiver now; 'endpoints verify' does it.")
]
DeliveryMode = Annotated[
    Mode | None, typer.Option(help="Send the body, or only its claim, to be fetched. Default: body.")
]
Ordered = Annotated[
    bool | None,
    typer.Option(help="One at a time, in order: slow. Default: side by side.", show_default=False),
]
LatestOnly = Annotated[
    bool | None,
    typer.Option(
        help="Skip what a delivered newer status of the same outage supersedes.", show_default=False
    ),
]
Concurrency = Annotated[int | None, typer.Option(help="Deliveries side by side. Default: 8.")]
RateLimit = Annotated[float | None, typer.Option(help="Deliveries a second. Default: no limit.")]
Timeout = Annotated[
    timedelta | None,
    typer.Option(parser=duration, metavar="DURATION", help="Time to answer. Default: 15s."),
]
AgeLimit = Annotated[
    timedelta | None,
    typer.Option(parser=duration, metavar="DURATION", help="When a delivery is given up. Default: 72h."),
]
SchemaVersion = Annotated[int | None, typer.Option(help="The version of bodies wanted. Default: the newest.")]
CaFile = Annotated[
    Path | None, typer.Option(help="CA certificates (PEM) to trust for this URL, besides the public ones.")
]


class Dispensable(Enum):
    """Settings that an endpoint can do without, by their options."""

    rate_limit = "rate-limit"
    schema_version = "schema-version"
    ca_pem = "ca-file"


Without = Annotated[list[Dispensable] | None, typer.Option(help="Take a setting away again; repeat it.")]


def chosen(
    settings: Settings,
    *,
    timeout: timedelta | None,
    age_limit: timedelta | None,
    ca_file: Path | None,
    without: Iterable[Dispensable] | None = None,
    **others: object,
) -> EndpointSettings:
    """Return the settings that were given, as the database takes them.

    Raises InvalidInputError for an unreadable CA file, and for an age limit that a claim would not live to.
    """
    given: Any = {name: value for name, value in others.items() if value is not None}
    given |= {one.name: None for one in without or ()}
    if timeout is not None:
        given["timeout_s"] = timeout.total_seconds()
    if age_limit is not None:
        if age_limit >= settings.claim_life:
            raise InvalidInputError(
                "age_limit",
                f"must be shorter than a claim's life, {show_duration(settings.claim_life.total_seconds())}",
            )
        given["age_limit_s"] = int(age_limit.total_seconds())
    if ca_file is not None:
        try:
            given["ca_pem"] = ca_file.read_text()
        except (OSError, UnicodeDecodeError) as unreadable:
            raise InvalidInputError("ca_file", f"cannot be read: {unreadable}") from unreadable
    found: EndpointSettings = given
    return found
