"""Coming and going at the web pages, and what keeps a session its owner's."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
import trustme
from sqlalchemy import select, update

from claimbus.database import schema, sessions, tokens
from claimbus.database.access import Role
from claimbus.portal import pages
from tests.portal.portals import ACT, Portal, identity, subject_of
from tests.portal.seeding import text
from tests.portal.visitors import visiting
from tests.waiting import eventually

TEMPLATES: Final = Path(pages.__file__).parent / "templates"


async def test_who_is_not_logged_in_is_led_to_the_login_and_back(portal: Portal) -> None:
    async with visiting(portal) as visitor:
        led = await visitor.get("/?back=a%20b")
        assert (led.status, led.headers["location"]) == (303, "/login?next=/%3Fback%3Da%2520b")
        page = await visitor.get(led.headers["location"])
        assert page.status == 200
        assert b'value="/?back=a%20b"' in page.body
        fields = {"token": portal.token(Role.OPERATOR), "next": "/?back=a%20b"}
        there = await visitor.post("/login", fields)
        assert (there.status, there.headers["location"]) == (303, "/?back=a%20b")


async def test_a_session_cookie_is_for_this_host_over_tls_and_no_script(portal: Portal) -> None:
    async with visiting(portal) as visitor:
        got = await visitor.post("/login", {"token": portal.token(Role.OPERATOR)})
        cookie = got.headers["set-cookie"].lower()
        assert cookie.startswith("__host-claimbus=")
        for part in ("secure", "httponly", "samesite=lax", "path=/"):
            assert part in cookie
        assert "domain" not in cookie


@pytest.mark.parametrize("token", ["", "cbt_" + 43 * "a", "not a token", "cbt_" + 43 * "é"])
async def test_what_is_no_token_opens_nothing(portal: Portal, token: str) -> None:
    async with visiting(portal) as visitor:
        got = await visitor.post("/login", {"token": token})
        assert got.status == 401
        assert not visitor.cookies
        assert b"That opens nothing" in got.body


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/\t/e"]
)
async def test_a_login_leads_to_no_other_site(portal: Portal, target: str) -> None:
    async with visiting(portal) as visitor:
        got = await visitor.post("/login", {"token": portal.token(Role.OPERATOR), "next": target})
        assert (got.status, got.headers["location"]) == (303, "/")


async def test_a_revoked_token_ends_its_sessions(portal: Portal) -> None:
    token = portal.token(Role.OPERATOR)
    async with visiting(portal) as visitor:
        await visitor.log_in(token)
        assert (await visitor.get("/")).headers["location"] == "/overview"
        with portal.services.database.transaction() as sql:
            [known] = tokens.find(sql)
            tokens.revoke(sql, known.id, ACT)

        async def is_out() -> bool:
            return (await visitor.get("/")).headers["location"].startswith("/login")

        await eventually(is_out)


async def test_a_certificate_logs_in_and_must_go_on_being_shown(portal: Portal) -> None:
    ca, subject = trustme.CA(), subject_of("jane")
    await portal.trusted(ca)
    portal.participant("PGAE")
    portal.known(subject, Role.UAA, participant="PGAE")
    async with visiting(portal, identity=identity(ca, "jane")) as jane, visiting(portal) as thief:
        page = await jane.get("/login")
        assert b"Continue with this certificate" in page.body
        led = await jane.post("/login", {"by": "certificate"})
        assert led.status == 303
        assert (await jane.get("/")).headers["location"] == "/endpoints"
        thief.cookies = dict(jane.cookies)
        assert (await thief.get("/")).headers["location"] == "/login?next=/"


async def test_without_a_certificate_nobody_logs_in_by_one(portal: Portal) -> None:
    async with visiting(portal) as visitor:
        assert (await visitor.post("/login", {"by": "certificate"})).status == 401


async def test_logging_out_ends_the_session_here_and_there(portal: Portal) -> None:
    async with visiting(portal) as visitor:
        await visitor.log_in(portal.token(Role.OPERATOR))
        kept = dict(visitor.cookies)
        await visitor.get("/no-such-page")
        visitor.csrf = await _csrf(portal)
        assert (await visitor.post("/logout")).headers["location"] == "/login"
        assert not visitor.cookies
        visitor.cookies = kept
        assert (await visitor.get("/")).headers["location"].startswith("/login")


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
async def test_a_form_from_elsewhere_does_nothing(portal: Portal, site: str) -> None:
    async with visiting(portal) as visitor:
        await visitor.log_in(portal.token(Role.OPERATOR))
        visitor.csrf = await _csrf(portal)
        assert (await visitor.post("/logout", sec_fetch_site=site)).status == 403
        assert (await visitor.get("/")).headers["location"] == "/overview"


@pytest.mark.parametrize("csrf", ["", "x", 32 * "a"])
async def test_a_form_without_its_sessions_token_does_nothing(portal: Portal, csrf: str) -> None:
    async with visiting(portal) as visitor:
        await visitor.log_in(portal.token(Role.OPERATOR))
        visitor.csrf = csrf
        assert (await visitor.post("/logout")).status == 403
        assert (await visitor.get("/")).headers["location"] == "/overview"


async def test_a_stranger_can_fill_neither_memory_nor_disk(portal: Portal) -> None:
    async with visiting(portal) as visitor:
        assert (await visitor.post("/login", {"token": 1_100_000 * "a"})).status == 413
        files = {"content_type": "multipart/form-data; boundary=x"}
        assert (await visitor.post("/login", {"token": "a"}, **files)).status == 415


async def test_a_page_loads_nothing_from_elsewhere_and_is_kept_nowhere(portal: Portal) -> None:
    async with visiting(portal) as visitor:
        got = await visitor.get("/login")
        policy = got.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert got.headers["cache-control"] == "no-store"
        assert b"http://" not in got.body.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"https://" not in got.body
        for address in ("/static/portal.css", "/static/portal.js", "/static/htmx.min.js", "/static/icon.svg"):
            assert (await visitor.get(address)).status == 200


async def test_a_wrong_address_is_told_as_a_page_to_browsers_and_as_a_document_to_programs(
    portal: Portal,
) -> None:
    async with visiting(portal) as visitor:
        page = await visitor.get("/nope", accept="text/html,application/xhtml+xml")
        assert (page.status, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for address, accept in (("/nope", "*/*"), ("/v1/nope", "text/html")):
            document = await visitor.get(address, accept=accept)
            assert (document.status, document.headers["content-type"]) == (404, "application/problem+json")


async def test_a_problem_says_who_one_is_and_leads_back_within_this_site(portal: Portal) -> None:
    portal.participant("PGAE")
    async with visiting(portal) as visitor:
        await visitor.log_in(portal.token(Role.UAA, organisation="PGAE Inc", name="kay"))
        for came, back in (
            (f"{portal.url}/endpoints?state=held", "/endpoints?state=held"),
            ("https://evil.example/endpoints", "/"),
            (f"{portal.url}.evil.example/endpoints", "/"),
            ("nonsense", "/"),
        ):
            page = text(await visitor.get("/overview", referer=came))
            assert "You are logged in as kay: UAA of PGAE Inc" in page
            assert f'<a class="button" href="{back}">Back</a>' in page
        old = text(await visitor.post("/logout", {"csrf": "x"}))
        assert "load its page again" in old
        assert "You are logged in as" not in old


async def test_our_own_mistake_is_told_as_a_page_without_its_insides(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> bool:
        raise RuntimeError("the insides")

    async with visiting(portal) as visitor:
        await visitor.log_in(portal.token(Role.OPERATOR))
        monkeypatch.setattr("claimbus.portal.desk.audit.find", mistaken)
        got = await visitor.get("/audit")
        assert (got.status, got.headers["content-type"]) == (500, "text/html; charset=utf-8")
        assert b"the insides" not in got.body


async def test_a_session_in_use_lives_on_and_an_idle_one_ends(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with visiting(portal) as visitor:
        await visitor.log_in(portal.token(Role.OPERATOR))
        monkeypatch.setattr(sessions, "IDLE", timedelta(0))
        assert (await visitor.get("/")).headers["location"].startswith("/login")


async def test_what_a_page_asks_by_itself_keeps_no_session(portal: Portal) -> None:
    async with visiting(portal) as visitor:
        await visitor.log_in(portal.token(Role.OPERATOR))
        _leave_idle(portal, minutes=29)
        by_itself = {"hx_request": "true", "hx_current_url": f"{portal.url}/replays?state=running"}
        assert (await visitor.get("/recoveries", **by_itself)).status == 200
        assert _idle(portal) > timedelta(minutes=28)
        assert (await visitor.get("/recoveries")).status == 200
        assert _idle(portal) < timedelta(minutes=1)
        _leave_idle(portal, minutes=31)
        over = await visitor.get("/recoveries", **by_itself)  # and from there one comes back to the page
        assert over.headers["hx-redirect"] == "/login?next=/replays%3Fstate%3Drunning"
        odd = await visitor.get("/recoveries", hx_request="true", hx_current_url="https://[odd/")
        assert (odd.status, odd.headers["hx-redirect"]) == (200, "/login?next=/")


def test_all_that_htmx_asks_for_it_asks_by_itself() -> None:
    """So that none of it is a use of a session."""
    templates = [one.read_text() for one in TEMPLATES.rglob("*.html")]
    asking = [tag for one in templates for tag in re.findall(r"<[a-z][^<]*?\bhx-(?:get|post)=.*?>", one)]
    assert len(asking) >= 6
    for tag in asking:
        assert re.search(r'hx-trigger="(every 1s|load)"', tag), tag


def _leave_idle(portal: Portal, minutes: float) -> None:
    seen = datetime.now(UTC) - timedelta(minutes=minutes)
    with portal.services.database.transaction() as sql:
        sql.execute(update(schema.sessions).values(seen_at=seen))


def _idle(portal: Portal) -> timedelta:
    with portal.services.database.transaction() as sql:
        seen: datetime = sql.execute(select(schema.sessions.c.seen_at)).scalar_one()
    return datetime.now(UTC) - seen


async def _csrf(portal: Portal) -> str:
    def looking(sql: object) -> str:
        row = sql.exec_driver_sql("SELECT csrf FROM sessions").one()  # type: ignore[attr-defined]
        return str(row[0])

    return await portal.services.database.read(looking)
