"""Market events: a window opens and closes, results and prices come.

A close is not final: a market can reopen and reclose. The hourly markets close for a trade date and hour. IDs
are made of what happened, so telling the same twice is recognised as one event; ``occurrence`` tells the
second reopening of a day from the first.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from claimbus.events.bodies import Body, encoded
from claimbus.events.catalogue import HOURLY_MARKETS, MARKET_EVENTS, WINDOW_EVENTS, lookup
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import ALL, Audience, Event, format_time

PACIFIC: Final = "America/Los_Angeles"
_HOUR: Final = timedelta(hours=1)


def market_event(
    market: str,
    event: str,
    *,
    trade_date: date,
    hour: int | None = None,
    source: str,
    at: datetime,
    occurrence: int = 1,
    due: datetime | None = None,
    reason: str | None = None,
    audience: Audience = ALL,
    timezone: str = PACIFIC,
) -> Event:
    """Return the event that ``event`` (``closed``) happened in ``market`` (``dam``; case does not matter).

    ``hour`` counts through the trade date from 1, local to ``timezone``: to 24, or 23 or 25 when the clock
    changes. The hourly markets need it for their window, the others have none. ``due`` is when an announced
    close or a delayed publication is expected. Raises InvalidInputError naming the argument at fault.
    """
    market = market.lower()
    if market not in MARKET_EVENTS:
        raise InvalidInputError("market", f"{market!r} is none of {', '.join(MARKET_EVENTS)}")
    if event not in MARKET_EVENTS[market]:
        raise InvalidInputError(
            "event", f"{market} has no {event!r}, only {', '.join(MARKET_EVENTS[market])}"
        )
    if occurrence < 1:
        raise InvalidInputError("occurrence", "counts from 1")
    body: Body = {"market": market, "trade_date": trade_date.isoformat()}
    event_id = f"{market}-{event}-{trade_date}"
    if hour is not None:
        if market not in HOURLY_MARKETS:
            raise InvalidInputError("hour", f"is not for {market}, which knows whole trade dates only")
        starts, ends = hour_of(trade_date, hour, timezone)
        body |= {"hour": hour, "starts": format_time(starts), "ends": format_time(ends)}
        event_id += f"-h{hour:02}"
    elif market in HOURLY_MARKETS and event in WINDOW_EVENTS:
        raise InvalidInputError("hour", f"is needed: the window of {market} is for a trade date and hour")
    body["occurrence"] = occurrence
    if due is not None:
        body["due"] = format_time(due)
    if reason is not None:
        body["reason"] = reason
    kind = lookup(f"market.{market}.{event}")
    return Event(
        type=kind.name,
        source=source,
        id=event_id if occurrence == 1 else f"{event_id}-{occurrence}",
        time=at,
        body=encoded(body),
        audience=audience,
        subject=market,
        dataschema=kind.newest.uri,
        partitionkey=kind.partitionkey(body),
    )


def hours_in(trade_date: date, timezone: str = PACIFIC) -> int:
    """Return how many hours the local day has: 24, or 23 or 25 when the clock changes."""
    return (_midnight(trade_date + timedelta(days=1), timezone) - _midnight(trade_date, timezone)) // _HOUR


def hour_of(trade_date: date, hour: int, timezone: str = PACIFIC) -> tuple[datetime, datetime]:
    """Return when an hour of a trade date begins and ends, in UTC. Raises InvalidInputError (``hour``)."""
    last = hours_in(trade_date, timezone)
    if not 1 <= hour <= last:
        raise InvalidInputError("hour", f"{hour} is none of {trade_date}, whose hours are 1 to {last}")
    starts = _midnight(trade_date, timezone) + (hour - 1) * _HOUR
    return starts, starts + _HOUR


def _midnight(day: date, timezone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(timezone)).astimezone(UTC)
