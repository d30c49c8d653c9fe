"""``claimbus notice``: tell participants something about the ISO's systems."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from claimbus.cli.options import AsJson, InOutbox, To, group, moment
from claimbus.cli.publish import audience, send
from claimbus.cli.settings import load
from claimbus.events.event import new_id
from claimbus.events.notices import notice_event
from claimbus.events.schemas import NoticeKind

app = group("Publish notices to participants.")


@app.callback()
def notice() -> None:
    """Publish notices to participants."""


@app.command()
def publish(
    title: Annotated[str, typer.Argument(help="What it is about, in a line.")],
    *,
    text: Annotated[str, typer.Option(help="What participants must know.")],
    kind: Annotated[NoticeKind, typer.Option(help="What kind of notice.")] = "general",
    effective: Annotated[
        datetime | None,
        typer.Option(
            parser=moment, metavar="TIME", help="From when it holds: tomorrow 09:00, ISO 8601. Default: now."
        ),
    ] = None,
    ends: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="Until when, if that is known.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Where to read more.")] = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", help="A second notice with this ID is recognised. Default: a new one."),
    ] = None,
    to: To = None,
    outbox: InOutbox = None,
    as_json: AsJson = False,
) -> None:
    """Publish a notice. An amended one needs another ID."""
    settings, now = load(), datetime.now(UTC)
    event = notice_event(
        kind,
        notice_id=id_ or new_id(),
        title=title,
        text=text,
        effective=effective or now,
        source=settings.source("system"),
        at=now,
        ends=ends,
        url=url,
        audience=audience(to),
    )
    send(settings, event, fresh=id_ is None, outbox=outbox, as_json=as_json)
