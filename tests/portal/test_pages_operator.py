"""The operators' pages, by somebody at a browser without scripts."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from claimbus.cli.settings import Settings
from claimbus.database import entitlements, parked, participants
from claimbus.database.access import Role
from claimbus.database.entitlements import Entitlement
from claimbus.events.errors import UnavailableError
from claimbus.portal.pages.operator import ROUTERS
from claimbus.portal.pages.routes import PageRoute
from tests.claimstore.private import PrivateRedis
from tests.portal.portals import ACT, Got, Portal, open_portal
from tests.portal.seeding import HTML, attempt, cemetery, endpoint, logged_in, record, text, uaa
from tests.portal.visitors import Visitor
from tests.producers.bus import closed
from tests.services import management
from tests.waiting import eventually

ROUTES = sorted(
    (method, re.sub(r"\{\w+\}", "PGAE", route.path))
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, PageRoute)
    for method in route.methods or ()
)


@pytest.fixture(autouse=True)
def pgae(portal: Portal) -> None:
    portal.participant("PGAE")


@pytest.fixture
async def operator(portal: Portal) -> AsyncIterator[Visitor]:
    async with logged_in(portal) as visitor:
        yield visitor


async def test_no_operators_page_is_open_to_anybody_else(portal: Portal) -> None:
    async with uaa(portal) as visitor, logged_in(portal, Role.ADMIN) as admin:
        for method, path in ROUTES:
            for somebody in (visitor, admin):
                got = await (somebody.get(path) if method == "GET" else somebody.post(path))
                assert got.status == 403, (method, path)
                assert "Not open to you" in text(got)
            answer = await portal.ask(method, path, headers={"sec-fetch-site": "same-origin"})
            assert b"<h1>Log in</h1>" in answer.body, (method, path)
    assert len(ROUTES) > 12


async def test_an_overview_of_nothing_is_green(operator: Visitor) -> None:
    page = text(await operator.get("/overview"))
    assert '<p class="answer good"' in page
    assert "Everything is reaching everybody." in page
    assert "Nothing waits in any queue." in page


async def test_the_overview_names_what_is_held_and_what_died(portal: Portal, operator: Visitor) -> None:
    one = endpoint(portal, name=HTML[:60])
    for _ in range(5):
        await portal.services.holds.failed(one.id)
    await cemetery(portal).bury(one, cause="expired")
    page = text(await eventually(lambda: _with(operator, "/overview", "1 endpoint is held")))
    assert "1 new dead letter waits for somebody" in page
    assert '<p class="answer bad"' in page
    assert 'href="/letters/groups?cause=expired"' in page
    assert f'href="/endpoints/{one.id}"' in page


async def test_names_are_shown_as_they_are_and_never_as_html(portal: Portal, operator: Visitor) -> None:
    portal.participant("SCEC", organisation=HTML)
    one = endpoint(portal, "SCEC", name=HTML)
    for _ in range(5):
        await portal.services.holds.failed(one.id)
    await eventually(lambda: _with(operator, "/overview", "1 endpoint is held"))
    for path in ("/overview", "/participants", "/participants/SCEC", f"/participants?text={HTML}"):
        got = await operator.get(path)
        assert HTML.encode() not in got.body
        assert b"&lt;script&gt;" in got.body


async def test_participants_are_found_and_come_by_pages(portal: Portal, operator: Visitor) -> None:
    with portal.services.database.transaction() as sql:
        for number in range(60):
            participants.add(sql, f"P{number:03}", "Many Inc", ACT, event_types=())
    endpoint(portal, name="one")
    first = text(await operator.get("/participants"))
    [following] = re.findall(r'href="([^"]+)" rel="next"', first)
    second = text(await operator.get(f"/participants{following}"))
    assert "P059" in second
    assert "1 active" in second
    assert "P000" not in second
    found = text(await operator.get("/participants?text=pga"))
    assert "PGAE" in found
    assert "P000" not in found
    assert "Nobody is called so" in text(await operator.get("/participants?text=nobody"))


async def test_a_participant_shows_what_is_its_own(portal: Portal, operator: Visitor) -> None:
    one = endpoint(portal, name="main")
    record(portal, attempt(one), attempt(one, verdict="failed", status=503))
    now = datetime.now(UTC)
    with portal.services.database.transaction() as sql:
        participants.add_contact(sql, "PGAE Inc", "jane@pgae.example", ACT)
        past = now - timedelta(days=9)
        owned = [Entitlement("SUNRIV_2", "PGAE", past), Entitlement("OLD_1", "PGAE", past, now)]
        entitlements.put(sql, owned, ACT)
    page = text(await operator.get("/participants/PGAE"))
    for what in ("main", "1 delivered, 1 attempts failed", "jane@pgae.example", "SUNRIV_2", "1 in the past"):
        assert what in page
    assert (await operator.get("/participants/NOBODY")).status == 404


async def test_the_journal_is_searched_by_what_one_knows(portal: Portal, operator: Visitor) -> None:
    event = closed(7, source=f"urn:tests:{portal.url}")
    await portal.services.producer("market").publish(event)
    assert "Search from a time on" in text(await operator.get("/journal"))
    page = text(await operator.get(f"/journal?message_id={event.identity}&type=market.%23"))
    assert f'href="/deliveries?message={event.identity}"' in page
    assert "market.dam.closed" in page
    none = text(await operator.get(f"/journal?message_id={event.identity}&type=oms.%23"))
    assert "Nothing like that was published" in none


async def test_a_wrong_search_is_told_at_its_field(operator: Visitor) -> None:
    wrong = {
        "since=yesterday-ish": "since",
        "type=no+such": "type",
        "since=2026-02-01&until=2026-01-01": "until",
    }
    for query, field in wrong.items():
        got = await operator.get(f"/journal?{query}")
        assert got.status == 422
        assert re.search(rf'<input id="f-{field}"[^>]* aria-invalid="true"', text(got)), query


async def test_a_notice_is_seen_before_it_goes_out(portal: Portal, operator: Visitor) -> None:
    portal.participant("SCEC", "oms.#")
    portal.participant("DEAF")
    endpoint(portal, "PGAE", subscriptions=("system.#",))
    endpoint(portal, "PGAE", name="two", subscriptions=("#",))
    endpoint(portal, "SCEC", subscriptions=("#",))
    endpoint(portal, "DEAF", subscriptions=("oms.#",))
    assert "TLS 1.0 and 1.1 end on DATE" in text(await operator.get("/notices/new?template=tls"))
    written = {"kind": "maintenance", "title": HTML[:40], "text": "We are away.", "audience": "all"}
    shown = await operator.post("/notices/preview", written)
    page = text(shown)
    assert shown.status == 200
    assert "1 participant, at 2 endpoints" in page
    assert "1 of those addressed has no endpoint that subscribes to notices" in page
    assert "Notices are not open to 1" in page
    assert re.findall(r'href="/participants/([A-Z]+)"', page) == ["PGAE", "DEAF", "SCEC"]
    assert HTML[:40].encode() not in shown.body
    form = page[page.index('action="/notices"') :]
    kept = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))
    published = await operator.post("/notices", kept | {"reason": "planned"})
    assert published.status == 303
    again = await operator.post("/notices", kept)
    assert again.headers["location"] == published.headers["location"]
    assert "It is published." in text(await operator.get(published.headers["location"]))
    message_id = published.headers["location"].rpartition("=")[2]
    assert "1 of" in text(await operator.get(f"/journal?message_id={message_id}"))


async def test_a_notice_that_is_not_ready_comes_back_as_typed(operator: Visitor) -> None:
    written = {"kind": "general", "title": "A title", "text": "A text"}
    wrong = {
        "title": {"title": ""},
        "text": {"text": " "},
        "kind": {"kind": "gossip"},
        "effective": {"effective": "soon"},
        "ends": {"ends": "2020-01-01T00:00"},
        "participants": {"audience": "picked", "participants": "NOBODY"},
    }
    await operator.get("/notices/new")
    for field, typed in wrong.items():
        got = await operator.post("/notices/preview", written | typed)
        page = text(got)
        assert got.status == 422
        assert f'href="#f-{field}"' in page
        assert all((written | typed)[name].strip() in page for name in ("title", "text"))
    nobody = await operator.post("/notices/preview", written | {"audience": "picked"})
    assert "pick at least one" in text(nobody)


async def test_an_event_type_is_retired_and_kept_after_all(operator: Visitor) -> None:
    path = "/event-types/market.dam.closed"
    await operator.get(path)
    dates = {"deprecated": "2020-01-01", "sunset": "2099-01-01", "reason": "nobody uses it"}
    assert (await operator.post(path, dates)).status == 303
    page = text(await operator.get("/event-types"))
    assert re.search(r"market\.dam\.closed</a>.*?deprecated.*?2020-01-01.*?2099-01-01", page, re.DOTALL)
    assert (await operator.post(path, {"reset": "true", "reason": "kept"})).status == 303
    assert "2099-01-01" not in text(await operator.get(path))
    backwards = {"deprecated": "2026-02-01", "sunset": "2026-01-01"}
    for wrong in ({}, {"sunset": "never"}, backwards, dates | {"reason": ""}):
        assert (await operator.post(path, {"reason": "why"} | wrong)).status == 422
    assert (await operator.get("/event-types/no.such.type")).status == 422


async def test_a_parked_event_goes_to_whom_it_belongs_by_now(portal: Portal, operator: Visitor) -> None:
    events = [closed(number, source=f"urn:tests:{portal.url}") for number in (1, 2)]
    with portal.services.database.transaction() as sql:
        parked.park(sql, zip(("OWNED_1", "NOBODY_1"), events, strict=True), datetime.now(UTC))
        entitlements.put(sql, [Entitlement("OWNED_1", "PGAE", datetime.now(UTC))], ACT)
    assert "nobody" in text(await operator.get("/parked"))
    assert (await operator.post("/parked")).status == 422
    went = await operator.post("/parked", {"all": "true"})
    assert went.headers["location"] == "/parked?out=1&stayed=0"
    stays = await operator.post("/parked", {"chosen": events[1].identity})
    assert stays.headers["location"] == "/parked?out=0&stayed=1"
    named = {"chosen": events[1].identity, "to": "NOBODY"}
    unexplained = await operator.post("/parked", named)
    assert unexplained.status == 422
    assert "say why others than their owners get them" in text(unexplained)
    unknown = await operator.post("/parked", named | {"reason": "found"})
    assert unknown.status == 422
    assert all(kept in text(unknown) for kept in ('value="NOBODY"', 'value="found"', " checked"))
    assert 'href="#f-to"' in text(unknown)
    went = await operator.post("/parked", {"chosen": events[1].identity, "to": "PGAE", "reason": "found"})
    assert went.headers["location"] == "/parked?out=1&stayed=0"
    assert "Nothing is parked" in text(await operator.get("/parked"))
    assert "OWNED_1" in text(await operator.get("/parked?released=true"))


@pytest.mark.parametrize(
    ("doing", "path", "fields"),
    [
        ("parked.release", "/parked", {"to": "PGAE"}),
        ("catalogue.set_dates", "/event-types/market.dam.closed", {"sunset": "2036-01-01"}),
        ("participants.add_contact", "/participants/PGAE/tell", {"email": "kay@example.com"}),
    ],
)
async def test_what_was_typed_stays_when_a_server_is_away(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, doing: str, path: str, fields: dict[str, str]
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise UnavailableError("something is away")

    with portal.services.database.transaction() as sql:
        parked.park(sql, [("NOBODY_1", closed(1))], datetime.now(UTC))
    async with logged_in(portal) as operator:
        await operator.get(path)
        monkeypatch.setattr(f"claimbus.portal.desk.{doing}", away)
        got = await operator.post(path, {"reason": "because I say so", "all": "true"} | fields)
    assert (got.status, got.headers["retry-after"]) == (503, "5")
    for kept in ("because I say so", *fields.values()):
        assert f'value="{kept}"' in text(got)
    assert "Look first whether it was done." in text(got)
    assert "something is away" not in text(got)


@pytest.mark.usefixtures("own_servers")
async def test_without_redis_and_rabbitmq_pages_open_and_say_so(
    settings: Settings, amqp_url: str, tmp_path: Path
) -> None:
    (folder := tmp_path / "redis").mkdir()
    redis = PrivateRedis(folder)
    redis.start()
    redis.wait()
    broken = settings.model_copy(update={"amqp_url": amqp_url, "redis_url": redis.url})
    try:
        async with open_portal(broken, folder) as portal, logged_in(portal) as operator:
            endpoint(portal, name="here")
            redis.kill()
            management("DELETE", f"/vhosts/{(vhost := amqp_url.rpartition('/')[2])}")
            page = text(await eventually(lambda: _with(operator, "/overview", "RabbitMQ and Redis are away")))
            assert '<p class="answer bad"' in page
            assert page.count('class="trouble"') >= 4
            assert "whether an endpoint is held is not known" in text(
                await operator.get("/participants/PGAE")
            )
            assert "the journal with it" in text(await operator.get("/journal?type=oms.%23"))
            for path in ("/participants", "/parked", "/event-types", "/notices/new"):
                assert (await operator.get(path)).status == 200
            management("PUT", f"/vhosts/{vhost}", {})
    finally:
        redis.kill()


async def _with(visitor: Visitor, path: str, words: str) -> Got | None:
    got = await visitor.get(path)
    return got if words in text(got) else None
