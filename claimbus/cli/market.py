"""``claimbus market``: tell what happened in a market.

An event's ID is made of what happened, so telling the same twice is recognised; ``--occurrence`` tells the
second reopening of a day from the first.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Annotated, Final

import typer

from claimbus.cli.options import AsJson, InOutbox, To, day, group, moment
from claimbus.cli.publish import audience, send
from claimbus.cli.settings import load
from claimbus.events.errors import InvalidInputError
from claimbus.events.markets import market_event
from claimstore.errors import IdentityConflictError

EVENTS: Final = {
    "open": ("opened", "The market takes bids."),
    "closing-soon": ("closing-soon", "The market is about to close; say when with --due."),
    "close": ("closed", "The market takes no more bids."),
    "reopen": ("reopened", "A closed market takes bids again."),
    "reclose": ("reclosed", "A reopened market is closed again."),
    "results": ("results-published", "The results are published."),
    "delay": ("publication-delayed", "The results come later; say when with --due."),
    "price-corrected": ("price-corrected", "Published prices were corrected."),
}
"""Each command's event, and its line in the help."""

app = group("Publish what happened in a market.")


def _command(event: str) -> Callable[..., None]:
    def tell(
        market: Annotated[str, typer.Argument(help="dam, ruc, hasp, fmm or rtm.")],
        *,
        trade_date: Annotated[
            date, typer.Option(parser=day, metavar="DAY", help="2026-03-05, today or tomorrow.")
        ],
        hour: Annotated[
            int | None, typer.Option(help="The trade hour, from 1; for hasp, fmm and rtm only.")
        ] = None,
        occurrence: Annotated[int, typer.Option(help="2 for the second time on this trade date.")] = 1,
        due: Annotated[
            datetime | None,
            typer.Option(parser=moment, metavar="TIME", help="When it is expected: in 30m, 13:00, ISO 8601."),
        ] = None,
        reason: Annotated[str | None, typer.Option(help="Why, for the participants.")] = None,
        to: To = None,
        outbox: InOutbox = None,
        as_json: AsJson = False,
    ) -> None:
        settings = load()
        happened = market_event(
            market,
            event,
            trade_date=trade_date,
            hour=hour,
            source=settings.source("market"),
            at=datetime.now(UTC),
            occurrence=occurrence,
            due=due,
            reason=reason,
            audience=audience(to),
            timezone=settings.feed_timezone,
        )
        try:
            send(settings, happened, fresh=False, outbox=outbox, as_json=as_json)
        except IdentityConflictError as told_before:
            raise InvalidInputError(
                "occurrence",
                "this was told before with other facts; --occurrence tells that it happened again",
            ) from told_before

    return tell


for _name, (_event, _help) in EVENTS.items():
    app.command(_name, help=_help)(_command(_event))
