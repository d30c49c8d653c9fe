"""What holds for every page: whose it is, and what it says when a server is away."""

import re
from contextlib import AsyncExitStack
from pathlib import Path

from fastapi.routing import APIRoute

from claimbus.cli.settings import Settings
from claimbus.database import replays
from claimbus.database.access import Role
from claimbus.portal.pages import (
    audit,
    credentials,
    deliveries,
    endpoint_acts,
    endpoints,
    events,
    letters,
    recoveries,
)
from claimbus.portal.pages import replays as replay_pages
from claimbus.portal.pages.said import SAID
from tests.broker.proxy import proxy_before
from tests.portal.portals import ACT, Portal, open_portal
from tests.portal.seeding import attempt, cemetery, endpoint, logged_in, record, text, uaa

ROUTERS = (
    audit,
    credentials,
    deliveries,
    endpoint_acts,
    endpoints,
    events,
    letters,
    recoveries,
    replay_pages,
)
TURNINGS = {"turning": "pause", "deed": "replay"}


def routes() -> list[tuple[str, str]]:
    """Return the method and path of every route of these pages."""
    found = [one for room in ROUTERS for one in room.router.routes]
    return [(method, one.path) for one in found if isinstance(one, APIRoute) for method in one.methods or ()]


async def test_what_is_another_organisations_is_closed_whatever_is_asked(portal: Portal) -> None:
    for name in ("PGAE", "SCE1"):
        portal.participant(name)
    theirs = endpoint(portal, "SCE1", url="https://theirs.invalid/")
    [letter] = await cemetery(portal).bury(theirs)
    record(portal, attempt(theirs))
    with portal.services.database.transaction() as sql:
        job = replays.create(sql, [letter.id], ACT, selection={}, rate=None, canary=False)
    names = {
        "endpoint_id": theirs.id,
        "message_id": "evt_1",
        "letter_id": letter.id,
        "replay_id": job.id,
        "recovery_id": "rv_1",
    }
    queries = (f"endpoint={theirs.id}", "participant=SCE1")
    narrowed = [
        ("GET", f"{path}?{query}") for path in ("/deliveries", "/deliveries.csv") for query in queries
    ]
    narrowed.append(("GET", f"/recoveries?endpoint={theirs.id}"))
    narrowed += [
        ("GET", f"{path}?participant=SCE1") for path in ("/letters", "/letters/groups", "/endpoints")
    ]
    narrowed += [("GET", "/letters/replay/choose?participant=SCE1"), ("GET", "/audit?organisation=SCE1 Inc")]
    fields = {
        "participant": "SCE1",
        "name": "one",
        "kind": "stream",
        "reason": "because",
        "since": "2026-01-01",
    }
    asked = 0
    before = await portal.services.database.read(lambda sql: replays.find(sql).rows)
    async with uaa(portal) as visitor:
        for method, template in routes() + narrowed:
            is_theirs = any(f"{{{name}}}" in template for name in names)
            if method == "GET" and not is_theirs and "?" not in template:
                continue
            path = template.format(**names, **TURNINGS) if "{" in template else template.replace(" ", "+")
            got = await (visitor.get(path) if method == "GET" else visitor.post(path, fields))
            assert got.status == 403, (method, path, got.body)
            unknown = dict.fromkeys(names, "x_none")
            if is_theirs:  # and what does not exist is told in the same words
                path = template.format(**unknown, **TURNINGS)
                none = await (visitor.get(path) if method == "GET" else visitor.post(path, fields))
                assert (none.status, "not open to you" in text(none)) == (403, True), (method, path)
            asked += 1
        for path in ("/endpoints", "/deliveries", "/letters", "/letters/groups"):
            assert b"SCE1" not in (await visitor.get(path)).body
    assert asked > 20
    assert await portal.services.database.read(lambda sql: replays.find(sql).rows) == before


async def test_no_form_of_these_pages_does_anything_without_its_sessions_token(portal: Portal) -> None:
    portal.participant("PGAE")
    one = endpoint(portal)
    names = {"endpoint_id": one.id, "message_id": "evt_1", "letter_id": "dl_1", "replay_id": "rp_1"}
    names["recovery_id"] = "rv_1"
    async with uaa(portal) as visitor:
        for method, template in routes():
            visitor.csrf = "another session's"
            if method == "POST":
                got = await visitor.post(template.format(**names, **TURNINGS), {"name": "one"})
                assert (got.status, "another session" in text(got)) == (403, True), template


async def test_every_page_is_for_who_has_logged_in(portal: Portal) -> None:
    async with logged_in(portal) as visitor:
        visitor.cookies.clear()
        for method, template in routes():
            if method == "GET":
                got = await visitor.get(template.replace("{deed}", "replay"))
                assert (got.status, got.headers["location"].partition("?")[0]) == (303, "/login"), template


async def test_no_page_has_style_or_script_of_its_own(portal: Portal) -> None:
    portal.participant("PGAE")
    one = endpoint(portal)
    record(portal, attempt(one))
    [letter] = await cemetery(portal).bury(one)
    pages = [
        "/endpoints",
        "/endpoints/new",
        f"/endpoints/{one.id}",
        "/deliveries",
        f"/deliveries/{one.id}/evt_1",
    ]
    pages += ["/letters", "/letters/groups", f"/letters/{letter.id}", "/letters/replay/choose", "/replays"]
    pages += ["/events", "/events/market.dam.closed", "/audit"]
    async with logged_in(portal, Role.OPERATOR) as visitor:
        for path in pages:
            got = await visitor.get(path)
            assert got.status == 200, path
            page = got.body.decode()
            assert " style=" not in page
            assert "<style" not in page
            assert page.count("<script") == page.count("<script src=")
            assert " onclick=" not in page
            assert ">test<" in page  # the environment
            assert got.headers["cache-control"] == "no-store"


async def test_a_page_says_nothing_that_an_address_makes_up(portal: Portal) -> None:
    async with logged_in(portal) as visitor:
        assert "pay here" not in text(await visitor.get("/endpoints?said=pay+here"))
        assert SAID["saved"] in text(await visitor.get("/endpoints?said=saved"))


async def test_without_redis_or_rabbitmq_the_pages_open_and_say_so(
    settings: Settings, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        before_redis = await stack.enter_async_context(proxy_before(settings.redis_url))
        before_rabbitmq = await stack.enter_async_context(proxy_before(settings.amqp_url))
        urls = {"redis_url": before_redis.url, "amqp_url": before_rabbitmq.url}
        portal = await stack.enter_async_context(open_portal(settings.model_copy(update=urls), tmp_path))
        portal.participant("PGAE")
        one = endpoint(portal)
        record(portal, attempt(one))
        [letter] = await cemetery(portal).bury(one)
        visitor = await stack.enter_async_context(logged_in(portal))
        kay = await stack.enter_async_context(uaa(portal))
        await before_rabbitmq.refuse()
        page = text(await visitor.get(f"/endpoints/{one.id}"))
        assert "RabbitMQ is away" in page
        assert "Redis is away" not in page
        await before_redis.refuse()
        for path, said in (
            ("/endpoints", f'href="/endpoints/{one.id}"'),
            ("/endpoints?state=held", "Which endpoints are held is not known while Redis is away"),
            (f"/endpoints/{one.id}", "Redis is away"),
            ("/deliveries", "delivered"),
            (f"/deliveries/{one.id}/evt_1", "Attempt 1"),
            ("/letters", letter.id),
            ("/letters/groups", "1 dead"),
            (f"/letters/{letter.id}", "answered 422"),
            ("/replays", "No replay yet"),
            ("/recoveries", "Nothing was recovered yet"),
            ("/credentials", "a test's"),
            ("/events", "types:"),
            ("/audit", "added"),
            ("/letters/replay/choose", "cannot be shown at the moment"),
        ):
            got = await visitor.get(path)
            assert (got.status, said in text(got)) == (200, True), path
        for path in ("/endpoints", f"/endpoints/{one.id}"):
            page = text(await kay.get(path))
            assert "A part of the system is away. Nothing is lost." in page
            assert "a part of the system is away, or there is no queue for it yet" in page
            assert not re.search("Redis|RabbitMQ", page)
        chosen = {"id": letter.id, "reason": "mended", "rate": "7"}
        refused = await visitor.post("/letters/replay/choose", chosen)
        assert refused.status == 503
        for kept in (f'name="id" value="{letter.id}"', 'value="mended"', 'value="7"'):
            assert kept in text(refused)
        for act, fields in (("test", {}), ("recover", {"since": "2026-01-02T00:00", "type": "oms.#"})):
            refused = await visitor.post(f"/endpoints/{one.id}/{act}", fields)
            assert (refused.status, "Look first whether it was done." in text(refused)) == (503, True), act
        assert 'value="oms.#"' in text(refused)
