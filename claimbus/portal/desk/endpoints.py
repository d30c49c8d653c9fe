"""Where participants receive: what their UAAs keep. Every change is bound and announced at once."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypedDict

import structlog

from claimbus.database import directory, endpoints
from claimbus.database.access import Principal
from claimbus.database.audit import Act
from claimbus.database.endpoint import Endpoint, Kind, Settings, State
from claimbus.database.endpoints import SECRET_OVERLAP
from claimbus.database.page import Page
from claimbus.events.errors import UnavailableError
from claimbus.portal.desk import holding, rates, scope
from claimbus.portal.desk.provisioning import Outcome, provision
from claimbus.portal.desk.trials import send_test, verified, verify
from claimbus.portal.services import Services

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "New",
    "Outcome",
    "add",
    "change",
    "disable",
    "enable",
    "get",
    "page",
    "pause",
    "remove",
    "resume",
    "rotate_secret",
    "send_test",
    "subscribe",
    "verify",
]

Change = Callable[["Connection", str, Act], Endpoint]

NOT_VERIFIED: Final = (
    "it is saved, but not verified yet: a service behind the portal is away; verify it later"
)

_log: Final = structlog.get_logger("claimbus.portal.desk")


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """An endpoint to be added; ``settings`` holds its name and, for a webhook, its URL."""

    participant_id: str
    kind: Kind
    settings: Settings
    subscriptions: Collection[str] = ()


class _Wanted(TypedDict):
    participant_ids: Collection[str] | None
    state: State | None
    kind: Kind | None
    text: str


async def page(
    services: Services,
    who: Principal,
    *,
    participant_id: str | None = None,
    state: State | None = None,
    kind: Kind | None = None,
    text: str = "",
    held: bool | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Endpoint]:
    """Return those that somebody may see, by participant and name, a page at a time.

    ``text`` is in one of their names. ``held``: only those that are held now, or only those that are not;
    Redis alone knows, and `holding.UnknownError` is raised while it is away.
    """
    wanted: _Wanted = {
        "participant_ids": scope.narrowed(who, participant_id),
        "state": state,
        "kind": kind,
        "text": text.strip(),
    }
    ids: Collection[str] | None = None
    if held is not None:
        known = await services.database.read(lambda sql: directory.endpoint_ids(sql, **wanted))
        ids = await holding.among(services, who, known, held=held)
    return await services.database.read(
        lambda sql: directory.endpoints(sql, ids=ids, cursor=cursor, limit=limit, **wanted)
    )


async def get(services: Services, who: Principal, endpoint_id: str) -> Endpoint:
    """Return one, a removed one too."""
    return await services.database.read(lambda sql: scope.endpoint_of(sql, who, endpoint_id))


async def add(services: Services, who: Principal, new: New, *, reason: str = "") -> Outcome:
    """Add one. A webhook's receiver is asked at once whether it wants events; until it does it is pending.

    One whose verification was cut short is there nevertheless, with its secret; ``late`` says so. Raises
    `rates.TooOftenError` for a webhook, as `verify` does.
    """
    scope.must_be(who, *scope.KEEPING)
    scope.narrowed(who, new.participant_id)
    act, url = Act(who.name, reason), new.settings.get("url")
    if new.kind == "webhook" and url:
        rates.take(services, rates.VERIFYING, who)
        await services.check_url(url)

    def adding(sql: "Connection") -> Endpoint:
        return endpoints.add(
            sql,
            new.participant_id,
            act,
            kind=new.kind,
            subscriptions=new.subscriptions,
            allow_http=services.allow_http,
            **new.settings,
        )

    added = await services.database.run(adding)
    late = await provision(services, added)
    outcome = Outcome(endpoint=added, late=late)
    if added.state == "pending":
        try:
            outcome = await verified(services, added, act)
        except UnavailableError as away:  # its secret is shown this once: nobody could ask for it again
            _log.warning("added, but not verified yet", endpoint=added.id, reason=str(away))
            outcome = replace(outcome, late=NOT_VERIFIED)
    return replace(outcome, secret=added.secrets[0].value if added.kind == "webhook" else None)


async def change(
    services: Services, who: Principal, endpoint_id: str, settings: Settings, *, reason: str = ""
) -> Outcome:
    """Change settings. Another URL is verified anew, and nothing is sent there before.

    Raises `rates.TooOftenError` for a URL, as `verify` does.
    """
    act, url = Act(who.name, reason), settings.get("url")
    if url:  # whoever may not change it makes us look up no host
        await services.database.read(lambda sql: scope.endpoint_of(sql, who, endpoint_id, keep=True))
        rates.take(services, rates.VERIFYING, who, endpoint_id)
        await services.check_url(url)

    def changing(sql: "Connection") -> Endpoint:
        scope.endpoint_of(sql, who, endpoint_id, keep=True)
        return endpoints.change(sql, endpoint_id, act, allow_http=services.allow_http, **settings)

    changed = await services.database.run(changing)
    late = await provision(services, changed)
    if url and not changed.verified and changed.state == "pending":
        return await verified(services, changed, act)
    return Outcome(endpoint=changed, late=late)


async def subscribe(
    services: Services,
    who: Principal,
    endpoint_id: str,
    *,
    add: Collection[str] = (),
    give_up: Collection[str] = (),
    reason: str = "",
) -> Outcome:
    """Subscribe it to event types, and give others up."""

    def changing(sql: "Connection", id_: str, act: Act) -> Endpoint:
        changed = endpoints.subscribe(sql, id_, add, act)
        return endpoints.unsubscribe(sql, id_, give_up, act) if give_up else changed

    return await _change(services, who, endpoint_id, changing, reason)


async def pause(services: Services, who: Principal, endpoint_id: str, *, reason: str = "") -> Outcome:
    """Deliver nothing for a while; the queue keeps everything."""
    return await _change(services, who, endpoint_id, endpoints.pause, reason)


async def resume(services: Services, who: Principal, endpoint_id: str, *, reason: str = "") -> Outcome:
    """Go on after `pause`."""
    return await _change(services, who, endpoint_id, endpoints.resume, reason)


async def disable(services: Services, who: Principal, endpoint_id: str, *, reason: str) -> Outcome:
    """Deliver nothing until somebody enables it; ``reason`` must say why."""
    return await _change(services, who, endpoint_id, endpoints.disable, reason)


async def enable(services: Services, who: Principal, endpoint_id: str, *, reason: str = "") -> Outcome:
    """Go on after `disable`."""
    return await _change(services, who, endpoint_id, endpoints.enable, reason)


async def remove(services: Services, who: Principal, endpoint_id: str, *, reason: str = "") -> Outcome:
    """Remove it: what is left in its queue becomes dead letters."""

    def removing(sql: "Connection", id_: str, act: Act) -> Endpoint:
        endpoints.remove(sql, id_, act)
        return endpoints.get(sql, id_)

    return await _change(services, who, endpoint_id, removing, reason)


async def rotate_secret(services: Services, who: Principal, endpoint_id: str, *, reason: str = "") -> Outcome:
    """Make a new secret, shown this once; the one before signs beside it for a day."""

    def rotating(sql: "Connection", id_: str, act: Act) -> Endpoint:
        return endpoints.rotate_secret(sql, id_, act, overlap=SECRET_OVERLAP)

    outcome = await _change(services, who, endpoint_id, rotating, reason)
    return Outcome(endpoint=outcome.endpoint, secret=outcome.endpoint.secrets[0].value, late=outcome.late)


async def _change(
    services: Services, who: Principal, endpoint_id: str, change_: Change, reason: str
) -> Outcome:
    act = Act(who.name, reason)

    def changing(sql: "Connection") -> Endpoint:
        scope.endpoint_of(sql, who, endpoint_id, keep=True)
        return change_(sql, endpoint_id, act)

    changed = await services.database.run(changing)
    return Outcome(endpoint=changed, late=await provision(services, changed))
