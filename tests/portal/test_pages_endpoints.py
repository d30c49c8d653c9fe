"""The pages of endpoints, as a UAA uses them."""

import json
import re
from datetime import timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import update

from claimbus.database import endpoints, holds, schema
from claimbus.database.access import Role
from claimbus.database.holds import HoldEvent
from claimbus.events.catalogue import EVENT_TYPES
from claimbus.events.errors import UnavailableError
from claimbus.portal.desk import rates
from claimbus.portal.problems import ProblemError
from tests.portal.portals import ACT, Portal
from tests.portal.seeding import HTML, attempt, endpoint, logged_in, record, text, uaa
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def pgae(portal: Portal) -> None:
    portal.participant("PGAE")


async def test_who_has_nothing_yet_is_led_to_adding(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/endpoints"))
        assert "Nothing receives yet" in page
        assert 'href="/endpoints/new"' in page


async def test_the_list_shows_health_at_a_glance(portal: Portal) -> None:
    one = endpoint(portal, name="busy")
    record(portal, attempt(one), attempt(one), attempt(one, verdict="failed", status=503))
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/endpoints"))
        assert "2 delivered and 1 failed in 24 hours" in page
        assert "active" in page


async def test_a_held_endpoint_says_since_when_and_why(portal: Portal) -> None:
    one = endpoint(portal)
    for _ in range(5):
        await portal.services.holds.failed(one.id)
    with portal.services.database.transaction() as sql:
        holds.record(sql, HoldEvent(one.id, "held", ACT.at, "5 failures in a row: timeout"))
    async with uaa(portal) as visitor:
        for path in ("/endpoints", f"/endpoints/{one.id}"):
            page = text(await visitor.get(path))
            assert "5 failures in a row: timeout" in page
            assert "held" in page


async def test_endpoints_are_found_by_where_they_stand(portal: Portal) -> None:
    held = endpoint(portal, name="the held one")
    endpoint(portal, name="the busy one")
    waiting = endpoint(portal, name="the waiting one")
    for _ in range(5):
        await portal.services.holds.failed(held.id)
    with portal.services.database.transaction() as sql:
        endpoints.pause(sql, waiting.id, ACT)
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/endpoints"))
        assert "3 in all" in page
        for state, name in (("held", "held"), ("active", "busy"), ("paused", "waiting")):
            assert f'href="/endpoints?state={state}">1 {state}</a>' in page
            found = text(await visitor.get(f"/endpoints?state={state}"))
            assert set(re.findall(r"the (\w+) one", found)) == {name}
        assert "No endpoint is like that" in text(await visitor.get("/endpoints?state=disabled"))
        await portal.services.holds.succeeded(held.id)
        assert "No endpoint is held" in text(await visitor.get("/endpoints?state=held"))


async def test_a_certificate_that_is_trusted_tells_its_end(portal: Portal) -> None:
    pem = trustme.CA().cert_pem.bytes().decode()
    endpoint(portal, name="far", url="https://far.invalid/", ca_pem=pem)
    ending = x509.CertificateBuilder(
        issuer_name=(name := x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])),
        subject_name=name,
        public_key=(key := ec.generate_private_key(ec.SECP256R1())).public_key(),
        serial_number=1,
        not_valid_before=ACT.at - timedelta(days=1),
        not_valid_after=ACT.at + timedelta(days=9, hours=12),
    ).sign(key, hashes.SHA256())
    soon = endpoint(
        portal, name="soon", url="https://soon.invalid/", ca_pem=ending.public_bytes(Encoding.PEM).decode()
    )
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/endpoints"))
        assert page.count("a certificate that it trusts ends") == 1
        assert re.search(
            r"A trusted certificate ends.*in 9 days",
            text(await visitor.get(f"/endpoints/{soon.id}")),
            re.DOTALL,
        )


async def test_what_is_done_too_often_is_told_where_it_was_done(portal: Portal) -> None:
    one = endpoint(portal)
    async with uaa(portal) as visitor:
        await visitor.post(f"/endpoints/{one.id}/settings", {"name": "two"})
        for _ in range(rates.TESTING.to):
            assert (await visitor.post(f"/endpoints/{one.id}/test")).status == 303
        refused = await visitor.post(f"/endpoints/{one.id}/test")
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) > 0
        assert re.search(
            r"That was too often.*10 test events a minute; try again in \d+ s", text(refused), re.DOTALL
        )
        assert "Send a test event" in text(refused)  # it is the endpoint's page


async def test_a_type_leads_to_the_form_that_receives_it(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/events/market.dam.closed"))
        [led] = re.findall(r'href="(/endpoints/new\?[^"]+)"', page)
        assert re.search(r'value="market\.dam\.closed" checked', text(await visitor.get(led)))


async def test_the_form_shows_each_type_with_an_example_and_where_its_schema_is(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/endpoints/new"))
        for name, kind in EVENT_TYPES.items():
            assert json.dumps(kind.example, indent=2, ensure_ascii=False) in page
            assert f'href="/events/{name}"' in page


async def test_a_stream_with_a_url_that_is_none_is_a_stream(portal: Portal) -> None:
    fields = {"kind": "stream", "name": "one", "url": "typed before", "timeout_s": "x", "ca_pem": "x"}
    async with uaa(portal) as visitor:
        assert (await visitor.post("/endpoints/new", fields)).status == 200
        wrong = await visitor.post("/endpoints/new", fields)
        assert wrong.status == 422
        for kept in ('value="stream" checked', 'value="typed before"', 'value="one"'):
            assert kept in text(wrong)
    [added] = await portal.services.database.read(endpoints.find)
    assert (added.kind, added.url) == ("stream", None)


async def test_a_long_list_comes_by_pages_and_by_filters(portal: Portal) -> None:
    with portal.services.database.transaction() as sql:
        for number in range(60):
            endpoints.add(sql, "PGAE", ACT, kind="stream", name=f"number {number:03}")
    async with uaa(portal) as visitor:
        first = text(await visitor.get("/endpoints"))
        [following] = re.findall(r'href="([^"]+)" rel="next"', first)
        second = text(await visitor.get(f"/endpoints{following}"))
        assert (first.count("number 0"), second.count("number 0")) == (50, 10)
        assert "number 007" in text(await visitor.get("/endpoints?text=MBER+007&kind=stream"))
        assert "No endpoint is like that" in text(await visitor.get("/endpoints?text=nowhere"))
        assert "No endpoint is like that" in text(await visitor.get("/endpoints?kind=webhook"))
        assert (await visitor.get("/endpoints?cursor=x")).status == 422


async def test_a_stream_is_added_with_what_was_picked(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        page = await visitor.get("/endpoints/new")
        assert b"oms.resource-outage.created" in page.body
        fields = {
            "kind": "stream",
            "name": "Control room",
            "subscription": ["oms.#", "market.dam.closed"],
            "patterns": "*.*.cancelled",
            "mode": "claim",
            "ordered": "yes",
            "age_limit_s": "1.5",
            "schema_version": "1",
        }
        got = await visitor.post("/endpoints/new", fields)
        assert got.status == 200
        assert "claimbus subscribe" in text(got)
    [added] = await portal.services.database.read(endpoints.find)
    assert added.subscriptions == ("*.*.cancelled", "market.dam.closed", "oms.#")
    assert (added.mode, added.ordered, added.age_limit_s, added.schema_version) == ("claim", True, 5400, 1)


async def test_a_webhook_whose_receiver_is_not_there_gets_its_secret_and_plain_words(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        fields = {"kind": "webhook", "name": "desk", "url": "https://nowhere.invalid/", "subscription": "#"}
        got = await visitor.post("/endpoints/new", fields)
        page = text(got)
        [added] = await portal.services.database.read(endpoints.find)
        assert added.secrets[0].value in page
        assert "The host has no address; is its name spelled right?" in page
        assert "claimbus.subscribers import" in page
        again = await visitor.post(f"/endpoints/{added.id}/verify")
        assert "The host has no address" in text(again)
        assert added.secrets[0].value not in text(again)
        assert added.secrets[0].value not in text(await visitor.get(f"/endpoints/{added.id}"))


WRONG = (
    ({"url": "http://clear.example/"}, "url", "must begin with https://"),
    ({"url": "https://127.0.0.1:443/"}, "url", ""),
    ({"name": ""}, "name", "is no name"),
    ({"rate_limit": "many"}, "rate_limit", "'many' is no number"),
    ({"concurrency": "999"}, "concurrency", "from 1 to 256"),
    ({"concurrency": "0"}, "concurrency", "from 1 to 256"),
    ({"timeout_s": "0"}, "timeout_s", "from 0.1 to 300"),
    ({"age_limit_s": "9999"}, "age_limit_s", "720 hours"),
    ({"patterns": "OMS.#"}, "patterns", "is no word"),
    ({"ca_pem": "no certificate"}, "ca_pem", "PEM"),
)


async def test_what_is_wrong_is_told_at_its_field_and_the_rest_stays(portal: Portal) -> None:
    usual = {
        "kind": "webhook",
        "name": "kept name",
        "url": "https://kept.invalid/",
        "subscription": "market.#",
    }
    async with uaa(portal) as visitor:
        for fields, field, reason in WRONG:
            got = await visitor.post("/endpoints/new", usual | fields)
            page = text(got)
            assert got.status == 422
            wrong = re.search(rf'<p class="field wrong">\s*<label for="f-{field}".*?</p>', page, re.DOTALL)
            assert wrong is not None
            assert reason in wrong[0]
            assert re.search(r'value="market\.#" checked', page)
            assert field == "name" or 'value="kept name"' in page
    assert not await portal.services.database.read(endpoints.find)


async def test_a_name_that_is_taken_is_told_at_its_field(portal: Portal) -> None:
    endpoint(portal, name="one")
    async with uaa(portal) as visitor:
        got = await visitor.post("/endpoints/new", {"kind": "stream", "name": "one"})
        assert got.status == 422
        assert "has an endpoint 'one' already" in text(got)


async def test_who_keeps_several_participants_says_whose_it_is(portal: Portal) -> None:
    portal.participant("PGAE_TWO", organisation="PGAE Inc")
    async with uaa(portal) as visitor:
        assert '<option value="PGAE_TWO"' in text(await visitor.get("/endpoints/new"))
        wrong = await visitor.post("/endpoints/new", {"kind": "stream", "name": "one"})
        assert wrong.status == 422
        assert re.search(r'for="f-participant".*?choose whose endpoint it is', text(wrong), re.DOTALL)
        fields = {"kind": "stream", "name": "one", "participant": "PGAE_TWO"}
        assert (await visitor.post("/endpoints/new", fields)).status == 200
    [added] = await portal.services.database.read(endpoints.find)
    assert added.participant_id == "PGAE_TWO"


async def test_settings_are_changed_and_only_they(portal: Portal) -> None:
    one = endpoint(portal, concurrency=3)
    async with uaa(portal) as visitor:
        fields = {"name": "another", "concurrency": "3", "latest_only": "yes", "age_limit_s": "72"}
        got = await visitor.post(f"/endpoints/{one.id}/settings", fields)
        assert (got.status, got.headers["location"]) == (303, f"/endpoints/{one.id}?said=saved")
        assert "Saved." in text(await visitor.get(got.headers["location"]))
        wrong = await visitor.post(
            f"/endpoints/{one.id}/settings", fields | {"name": "kept", "rate_limit": "0"}
        )
        assert wrong.status == 422
        assert 'value="kept"' in text(wrong)
        assert "must be a number from" in text(wrong)
    now = await portal.services.database.read(lambda sql: endpoints.get(sql, one.id))
    assert (now.name, now.latest_only, now.concurrency, now.revision) == ("another", True, 3, 2)


async def test_subscriptions_become_what_is_picked(portal: Portal) -> None:
    one = endpoint(portal, subscriptions=("oms.#", "*.*.ended"))
    async with uaa(portal) as visitor:
        page = text(await visitor.get(f"/endpoints/{one.id}"))
        assert re.search(r'value="oms\.#" checked', page)
        assert 'value="*.*.ended"' in page
        fields = {"subscription": ["market.#"], "patterns": "*.*.ended *.*.closed"}
        assert (await visitor.post(f"/endpoints/{one.id}/subscriptions", fields)).status == 303
        wrong = await visitor.post(f"/endpoints/{one.id}/subscriptions", {"patterns": "a.b"})
        assert wrong.status == 422
        assert 'value="a.b"' in text(wrong)
    now = await portal.services.database.read(lambda sql: endpoints.get(sql, one.id))
    assert now.subscriptions == ("*.*.closed", "*.*.ended", "market.#")


async def test_an_endpoint_is_paused_and_resumed(portal: Portal) -> None:
    one = endpoint(portal)
    async with uaa(portal) as visitor:
        got = await visitor.post(f"/endpoints/{one.id}/pause")
        assert got.headers["location"] == f"/endpoints/{one.id}?said=paused"
        assert "Resume" in text(await visitor.get(got.headers["location"]))
        assert (await visitor.post(f"/endpoints/{one.id}/resume")).status == 303
        refused = await visitor.post(f"/endpoints/{one.id}/resume", {"reason": "again"})
        assert refused.status == 303  # it goes on already
        assert (await visitor.post(f"/endpoints/{one.id}/explode")).status == 422


async def test_a_new_secret_is_shown_once(portal: Portal) -> None:
    one = endpoint(portal, url="https://one.invalid/")
    async with uaa(portal) as visitor:
        shown = text(await visitor.post(f"/endpoints/{one.id}/rotate-secret"))
        now = await portal.services.database.read(lambda sql: endpoints.get(sql, one.id))
        assert now.secrets[0].value in shown
        assert now.secrets[0].value not in text(await visitor.get(f"/endpoints/{one.id}"))


async def test_one_is_removed_by_typing_its_name(portal: Portal) -> None:
    one = endpoint(portal, name="Control room")
    async with uaa(portal) as visitor:
        wrong = await visitor.post(f"/endpoints/{one.id}/remove", {"name": "control"})
        assert wrong.status == 422
        assert "type Control room to remove it" in text(wrong)
        unexplained = await visitor.post(f"/endpoints/{one.id}/remove", {"name": "Control room"})
        assert unexplained.status == 422
        assert re.search(r'for="f-reason-remove".*?say why', text(unexplained), re.DOTALL)
        fields = {"name": "Control room", "reason": "we moved"}
        gone = await visitor.post(f"/endpoints/{one.id}/remove", fields)
        assert gone.headers["location"] == "/endpoints?said=removed"
        assert "It was removed." in text(await visitor.get(f"/endpoints/{one.id}"))


async def test_a_test_event_is_watched_until_it_arrives(portal: Portal) -> None:
    one = endpoint(portal)
    async with uaa(portal) as visitor:
        await visitor.post(
            f"/endpoints/{one.id}/settings", {"name": "two"}
        )  # its queue is there from then on
        led = await visitor.post(f"/endpoints/{one.id}/test")
        assert led.status == 303
        here = led.headers["location"]
        waiting = text(await visitor.get(here))
        assert f'hx-get="{here}?asked=1" hx-trigger="every 1s"' in waiting
        message_id = here.rpartition("/")[2]
        record(portal, attempt(one, message_id=message_id, type="system.endpoint.test"))
        arrived = text(await visitor.get(here))
        assert "It arrived." in arrived
        assert "hx-trigger" not in arrived
        assert "hx-trigger" not in text(await visitor.get(f"/endpoints/{one.id}/tests/evt_none?asked=300"))
        kept = attempt(one, message_id="evt_kept", verdict="failed", status=None, next="keep")
        record(portal, kept)  # a probe that could not connect: it goes out again
        assert "hx-trigger" in text(await visitor.get(f"/endpoints/{one.id}/tests/evt_kept"))


async def test_what_was_missed_is_recovered_since_a_time(portal: Portal) -> None:
    one = endpoint(portal)
    async with uaa(portal) as visitor:
        for fields, reason in (
            ({"since": ""}, "say from when on"),
            ({"since": "yesterday"}, "is no date and time"),
            ({"since": "2999-01-01T00:00"}, "is not in the past"),
            ({"since": "2026-01-02T00:00", "until": "2026-01-01T00:00"}, "is not later"),
        ):
            wrong = await visitor.post(f"/endpoints/{one.id}/recover", {"type": "oms.#"} | fields)
            assert wrong.status == 422
            assert reason in text(wrong)
            assert 'value="oms.#"' in text(wrong)
        got = await visitor.post(f"/endpoints/{one.id}/recover", {"since": "2026-01-02T00:00"})
        assert got.headers["location"] == f"/endpoints/{one.id}?said=recovering#recovering"

        async def is_over() -> bool:
            page = text(await visitor.get(f"/endpoints/{one.id}"))
            return ">done</span>" in page or ">failed</span>" in page

        await eventually(is_over)


async def test_each_form_has_a_field_for_the_reason_and_keeps_it(portal: Portal) -> None:
    one = endpoint(portal, url="https://one.invalid/")
    async with logged_in(portal) as visitor:
        page = text(await visitor.get(f"/endpoints/{one.id}"))
        for act in ("pause", "rotate-secret"):  # these ask in a dialog
            [form] = re.findall(rf'<form method="post" action="/endpoints/{one.id}/{act}".*?</form>', page)
            assert 'data-ask="' in form
            assert '<input type="hidden" name="reason" value="">' in form
        fields = re.findall(r'<input id="f-reason-(\w+)" name="reason"[^>]*?( required)? aria', page)
        assert {name for name, needed in fields if needed} == {"remove", "disable"}
        assert {name for name, needed in fields if not needed} == {"recover", "subscriptions", "settings"}
        wrong = {"rate_limit": "0", "patterns": "a.b", "reason": "we moved"}
        for act in ("settings", "subscriptions", "recover", "remove"):
            got = text(await visitor.post(f"/endpoints/{one.id}/{act}", wrong))
            assert re.search(rf'id="f-reason-{act}" name="reason" type="text" value="we moved"', got)
            assert got.count('value="we moved"') == 1


async def test_what_could_not_be_done_says_why_and_whether_to_do_it_twice_does_harm(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullError(ProblemError, UnavailableError):
        """As the desk says it in words of its own."""

    async def full(*_: object, **__: object) -> None:
        raise FullError(503, "8 recoveries are running")

    one = endpoint(portal)
    async with uaa(portal) as visitor:
        await visitor.get(f"/endpoints/{one.id}")
        monkeypatch.setattr("claimbus.portal.desk.endpoints.change", full)
        monkeypatch.setattr("claimbus.portal.desk.recoveries.start", full)
        for act, fields, said in (
            ("settings", {"name": "two"}, "To do it twice does no harm."),
            ("recover", {"since": "2026-01-02T00:00"}, "Look first whether it was done."),
        ):
            got = await visitor.post(f"/endpoints/{one.id}/{act}", fields)
            assert (got.status, f"8 recoveries are running. {said}" in text(got)) == (503, True)


async def test_a_last_delivery_that_is_not_known_is_not_called_never(portal: Portal) -> None:
    new, failing, old = (endpoint(portal, name=name) for name in ("new", "failing", "old"))
    record(portal, attempt(failing, verdict="failed", status=503))
    with portal.services.database.transaction() as sql:
        long_ago = update(schema.endpoints).values(created_at=ACT.at - timedelta(days=9))
        sql.execute(long_ago.where(schema.endpoints.c.id == old.id))
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/endpoints"))
        assert (page.count(">not of late<"), page.count(">never<")) == (2, 1)
        for one, said in ((new, "never"), (failing, "not of late"), (old, "not of late")):
            there = text(await visitor.get(f"/endpoints/{one.id}"))
            assert f'Last delivery</p><p class="value"><span class="none">{said}</span>' in there


async def test_odd_names_and_urls_are_text_and_nothing_else(portal: Portal) -> None:
    one = endpoint(portal, name=HTML, url="https://odd.example/?a=%3Cb%3E&b=\"'<b>")
    async with uaa(portal) as visitor:
        for path in ("/endpoints", f"/endpoints/{one.id}", "/deliveries", "/audit"):
            body = (await visitor.get(path)).body
            assert b"<script>alert" not in body
            assert b"<img src=x" not in body
        assert HTML in text(await visitor.get("/endpoints"))


async def test_who_may_only_look_is_shown_no_forms(portal: Portal) -> None:
    one = endpoint(portal)
    async with logged_in(portal, Role.PARTICIPANT, participant="PGAE") as visitor:
        page = text(await visitor.get(f"/endpoints/{one.id}"))
        assert f'action="/endpoints/{one.id}' not in page
        assert (await visitor.get("/endpoints/new")).status == 403
        assert (await visitor.post("/endpoints/new", {"kind": "stream", "name": "x"})).status == 403
        assert (await visitor.post(f"/endpoints/{one.id}/pause")).status == 403


async def test_an_operator_disables_with_a_reason(portal: Portal) -> None:
    one = endpoint(portal)
    async with logged_in(portal) as visitor:
        assert (await visitor.post(f"/endpoints/{one.id}/disable")).status == 422
        assert (await visitor.post(f"/endpoints/{one.id}/disable", {"reason": "floods"})).status == 303
        assert "It is disabled: floods" in text(await visitor.get(f"/endpoints/{one.id}"))
        assert (await visitor.post(f"/endpoints/{one.id}/enable")).status == 303
        assert (await visitor.get("/endpoints/ep_none")).status == 404
