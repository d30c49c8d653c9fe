"""What keeps the pages safe: their headers and markup, their forms, and whatever hostile names come in."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from claimbus.broker import journal
from claimbus.database import schema
from claimbus.database.access import Role
from claimbus.portal.pages.login import START, _own
from tests.portal.hostile import FIELDS, HOSTILE, TURNED, TYPED, harmless, plant
from tests.portal.markup import Markup
from tests.portal.page_calls import PAGES, STREAMS
from tests.portal.portals import Got
from tests.portal.scene import Scene, open_scene
from tests.portal.test_audit_writes import entries, newest
from tests.portal.visitors import Visitor, visiting

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOWING: Final = frozenset(
    {
        "GET /endpoints",
        "GET /endpoints/{endpoint_id}",
        "GET /deliveries",
        "GET /deliveries/{endpoint_id}/{message_id}",
        "GET /letters",
        "GET /letters/{letter_id}",
        "GET /participants/{participant_id}",
        "GET /replays/{replay_id}",
        "/audit",
        "/parked",
        "/participants",
        "a preview",
    }
)
"""Where it must be seen, or this shows nothing."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(shared_amqp_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """One scene for all of them."""
    async with open_scene(tmp_path_factory.mktemp("safety"), shared_amqp_url) as scene:
        yield scene


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test things of its own, and let a recovery not wait for more at the journal's end."""
    monkeypatch.setattr(journal, "NEXT", 0.3)
    await scene.renew()


@pytest_asyncio.fixture(loop_scope="module")
async def operator(scene: Scene) -> AsyncIterator[Visitor]:
    async with visiting(scene.portal) as visitor:
        await visitor.log_in(scene.program.token or "")
        yield visitor


async def test_every_answer_of_a_page_is_sealed(scene: Scene, operator: Visitor) -> None:
    answers: dict[str, Got] = {}
    for call in PAGES:
        if call.route == "POST /logout":
            continue
        answers[call.name] = await call.make(scene, operator)
        if call.is_form:
            await scene.renew()
            answers[f"{call.name}, forged"] = await call.make(scene, operator, sec_fetch_site="cross-site")
        answers[f"{call.name}, of nothing"] = await visited(operator, call.path(scene) + "x", call.is_form)
    answers["the interface"] = await operator.get("/docs")
    came = {"referer": f"{scene.portal.url}//evil.example/", "accept": "text/html"}
    answers["from elsewhere"] = await operator.get("/no-such-page", **came)
    async with visiting(scene.portal) as stranger:
        for call in PAGES:
            answers[f"{call.name}, to a stranger"] = await call.make(scene, stranger)
    assert {got.status for got in answers.values()} >= {200, 303, 401, 403, 404, 422}
    for name, got in answers.items():
        if not got.headers.get("content-type", "").startswith("application/problem+json"):
            sealed(name, got)


@pytest.mark.parametrize("path", ["/login", "/", "/endpoints", "/no-such-page"])
async def test_the_cookie_of_a_session_is_the_hosts_alone(scene: Scene, path: str) -> None:
    async with visiting(scene.portal) as visitor:
        begun = await visitor.post("/login", {"token": scene.program.token or ""})
        name, _, flags = begun.headers["set-cookie"].partition("=")
        assert name == "__Host-claimbus"
        said = {one.strip().lower() for one in flags.split(";")[1:]}
        assert {"secure", "httponly", "path=/", "samesite=lax"} <= said
        assert not any(one.startswith("domain") for one in said)
        assert "set-cookie" not in (await visitor.get(path)).headers


async def test_no_form_does_anything_for_another_site(scene: Scene, operator: Visitor) -> None:
    async with visiting(scene.portal) as another:
        await another.log_in(scene.portal.token(Role.OPERATOR))
        await another.get("/endpoints")
        foreign = another.csrf
    await operator.get("/endpoints")
    own, before = operator.csrf, everything(scene)
    forgeries: tuple[tuple[str, dict[str, str]], ...] = (
        ("", {}),
        (foreign, {}),
        (own[:-1], {}),
        (own, {"sec_fetch_site": "cross-site"}),
        (own, {"sec_fetch_site": "same-site"}),
        (own, {"sec_fetch_site": "none"}),
        ("", {"x_csrf": foreign}),
    )
    for call in PAGES:
        for csrf, headers in forgeries if call.is_form else ():
            operator.csrf = csrf
            if call.route == "POST /login" and "sec_fetch_site" not in headers:
                continue  # there is no session yet
            got = await call.make(scene, operator, **headers)
            assert got.status == 403, (call.name, headers, got.status)
    assert everything(scene) == before
    operator.csrf = own
    assert (await operator.get("/endpoints")).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", ""])
async def test_where_a_browser_tells_only_the_origin_that_counts(
    scene: Scene, operator: Visitor, origin: str
) -> None:
    await operator.get("/endpoints")
    path, form = scene.fill("/endpoints/{endpoint_id}/pause"), urlencode({"csrf": operator.csrf})
    for told, status in ((origin, 403), (scene.portal.url, 303)):
        got = await operator._ask("POST", path, form, {"origin": told})
        assert got.status == status


async def test_nothing_is_changed_by_looking(scene: Scene, operator: Visitor) -> None:
    """So that a link from elsewhere, with a browser's cookie, does nothing; what is audited is the look."""
    before, audited = everything(scene, "audit_entries"), newest(scene)
    for call in PAGES:
        if not call.is_form:
            await call.make(scene, operator)
    assert everything(scene, "audit_entries") == before
    assert {one.action for one in await entries(scene, audited)} == {"looked"}


async def test_hostile_names_are_only_text_on_every_page(scene: Scene) -> None:
    """Whatever may come in, by whomever it comes."""
    walked: dict[str, Got] = {}
    async with visiting(scene.portal) as visitor:
        await visitor.log_in(scene.portal.token(Role.OPERATOR, name=HOSTILE))
        await plant(scene, visitor)
        for call in PAGES:
            if call.route not in STREAMS and not call.is_form:
                walked[call.name] = await call.make(scene, visitor)
        for path in ("/endpoints/new", "/letters/groups", "/letters", "/audit", "/parked", "/participants"):
            walked[path] = await visitor.get(path)
        preview = {"kind": "general", "title": HOSTILE, "text": f"{HOSTILE}{TURNED}", "audience": "all"}
        walked["a preview"] = await visitor.post("/notices/preview", preview)
    for name, got in walked.items():
        assert got.status in {200, 303, 422}, (name, got.status, got.body[-500:])
        if got.headers.get("content-type", "").startswith("text/html"):
            harmless(name, got)
    shown = {name for name, got in walked.items() if b"zz-hostile" in got.body}
    missing = SHOWING - shown
    assert missing == set()


@pytest.mark.parametrize("turn", range(8))
async def test_what_is_typed_is_shown_as_text_or_refused(scene: Scene, operator: Visitor, turn: int) -> None:
    """In every page's filters, and in every field of every form; never is it the portal's mistake.

    In eight turns every route gets every group of fields, each time with another value.
    """
    for number, call in enumerate(PAGES):
        if call.route in STREAMS or call.route == "POST /logout":
            continue
        names, value = FIELDS[(number + turn) % len(FIELDS)], TYPED[turn]
        if call.is_form:
            form = replace(call, fields={**call.fields, **dict.fromkeys(names, value)})
            got = await form.make(scene, operator)
            if got.status < 400:
                await scene.renew()
        else:
            query, path = urlencode(dict.fromkeys(names, value)), call.path(scene)
            query = query.replace("zz-surrogate", "%ed%a0%80")
            got = await operator.get(f"{path}{'&' if '?' in path else '?'}{query}")
        assert got.status < 500, (call.name, names, got.body[-500:])
        if got.headers.get("content-type", "").startswith("text/html"):
            harmless(f"{call.name} {names}", got)


@pytest.mark.parametrize(
    "body",
    [
        rb'{"reason": "\ud800"}',
        rb'{"\ud800": 1}',
        rb'{"reason": "\u0000"}',
        b'{"reason": "\xed\xa0\x80"}',
        rb'{"reason": {"\udfff": "\ud800"}}',
        rb'"\ud800"',
        b"[" * 100_000,
        b'{"reason": ' + b"9" * 5000 + b"}",
    ],
)
async def test_what_is_no_text_is_refused_by_the_api_and_not_its_mistake(scene: Scene, body: bytes) -> None:
    request = scene.program.client.post(scene.portal.url + scene.fill("/v1/endpoints/{endpoint_id}/pause"))
    request = request.bearer_auth(scene.program.token or "").header("content-type", "application/json")
    response = await request.body_bytes(body).build().send()
    assert response.status in {400, 422}


SITE: Final = "https://portal.example"
ELSEWHERE: Final = (
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "/\t/evil.example",
    "\t//evil.example",
    "/\n/evil.example",
    " //evil.example",
    "/%09/evil.example",
    "/..//evil.example",
    "@evil.example",
    "/\u2028/evil.example",
)


@given(st.text(alphabet=st.sampled_from("/\\:@?#.%09\t\r\n ae\u2028")) | st.sampled_from(ELSEWHERE))
async def test_a_login_leads_to_this_site_whatever_the_address_says(target: str) -> None:
    """As browsers read an address: they drop tabs and line ends, and take a backslash for a slash."""
    led = "".join(one for one in _own(target) if one not in "\t\r\n").strip().replace("\\", "/")
    assert urljoin(f"{SITE}/login", led).startswith(f"{SITE}/")
    assert _own(target) in {target, START}


@pytest.mark.parametrize("target", ELSEWHERE)
async def test_nobody_is_led_elsewhere(scene: Scene, target: str) -> None:
    async with visiting(scene.portal) as visitor:
        page = await visitor.get(f"/login?next={quote(target)}")
        [following] = (one for one in Markup.of(page.body.decode()).named("input") if one["name"] == "next")
        fields = {"token": scene.program.token or "", "next": target}
        led = await visitor.post("/login", fields)
        for address in (following["value"], led.headers["location"]):
            assert urlsplit(urljoin(f"{SITE}/login", address.replace("\\", "/"))).netloc == "portal.example"
        assert led.headers["location"].startswith("/")


async def visited(visitor: Visitor, path: str, is_form: bool) -> Got:
    """Go to an address, or send an empty form there."""
    ask = visitor.post if is_form else visitor.get
    return await ask(path, accept="text/html")


def sealed(name: str, got: Got) -> None:
    """Check what every answer must have."""
    headers = got.headers
    assert "content-security-policy" in headers, (name, headers)
    policy = dict(one.strip().partition(" ")[::2] for one in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'", name
    assert policy["frame-ancestors"] == "'none'", name
    assert not any("unsafe" in one or "*" in one or "http" in one for one in policy.values()), name
    assert headers["x-content-type-options"] == "nosniff", name
    assert headers["referrer-policy"] in {"no-referrer", "same-origin"}, name
    assert headers["cache-control"] == "no-store", name
    if headers.get("content-type", "").startswith("text/html"):
        markup = Markup.of(got.body.decode())
        assert markup.unsafe() == [], name
        for form in markup.named("form"):
            assert form.get("method", "get") in {"get", "post", "dialog"}, name


def everything(scene: Scene, *besides: str) -> Mapping[str, Any]:
    """All rows of the database but for some tables, and for the marks that somebody was here."""
    with scene.portal.services.database.snapshot() as sql:
        return {
            name: sql.execute(table.select()).all()
            for name, table in schema.metadata.tables.items()
            if name not in {"sessions", "tokens", *besides}
        }
