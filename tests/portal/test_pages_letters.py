"""The pages of dead letters and replays, as UAAs and operators share them."""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from sqlalchemy import update

from claimbus.database import audit, letters, replays, schema
from claimbus.database.access import Role
from claimbus.events.errors import UnavailableError
from claimbus.portal.pages import letters as pages
from tests.deadletters.stage import event
from tests.portal.portals import ACT, Portal
from tests.portal.seeding import HTML, cemetery, endpoint, logged_in, text, uaa


@pytest.fixture(autouse=True)
def pgae(portal: Portal) -> None:
    portal.participant("PGAE")


async def test_without_letters_all_is_well(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        for path in ("/letters", "/letters/groups"):
            assert "No dead letters" in text(await visitor.get(path))
        assert "No letter is like that" in text(await visitor.get("/letters/groups?type=oms.%23"))
    async with logged_in(portal) as visitor:
        assert "No replay yet" in text(await visitor.get("/replays"))


async def test_groups_show_what_letters_have_in_common(portal: Portal) -> None:
    one = endpoint(portal)
    await cemetery(portal).bury(one, count=3)
    await cemetery(portal).bury(one, cause="expired", detail=HTML, status=None)
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/letters/groups"))
        assert "4 dead" in page
        assert "3 letters over time" in page
        [group] = set(re.findall(r'href="/letters\?group=([0-9a-z_]+)', page)) & {
            (await portal.services.database.read(letters.find)).rows[-1].fingerprint
        }
        assert text(await visitor.get(f"/letters?group={group}")).count('class="id"') == 3
        for by in pages.GROUPINGS:
            got = await visitor.get(f"/letters/groups?by={by}")
            assert got.status == 200
            assert b"<script>alert" not in got.body


async def test_a_letter_shows_why_and_its_body_and_the_look_is_audited(portal: Portal) -> None:
    one = endpoint(portal)
    [open_] = await cemetery(portal).bury(one, event(body=b'{"word": "for all"}'))
    [closed] = await cemetery(portal).bury(one, event("PGAE", body=b'{"word": "confidential"}'))
    async with uaa(portal) as visitor:
        page = text(await visitor.get(f"/letters/{open_.id}"))
        assert '"word": "for all"' in page
        assert "HTTP 422" in page
        withheld = text(await visitor.get(f"/letters/{closed.id}"))
        assert "the body is confidential" in withheld.lower()
        assert '"confidential"' not in withheld
        assert (await visitor.get(f"/letters/{closed.id}/body")).status == 403
        whole = await visitor.get(f"/letters/{open_.id}/body")
        assert whole.body == b'{"word": "for all"}'
        assert whole.headers["content-type"] == "application/octet-stream"
        assert "attachment" in whole.headers["content-disposition"]
    async with logged_in(portal) as visitor:
        assert '"word": "confidential"' in text(await visitor.get(f"/letters/{closed.id}"))
        led = await visitor.get(f"/letters/{closed.id[:12]}")
        assert led.headers["location"] == f"/letters/{closed.id}"
        assert "looked" in text(await visitor.get("/audit?kind=letters"))


async def test_before_a_replay_one_sees_what_it_would_meet(portal: Portal) -> None:
    one = endpoint(portal)
    buried = await cemetery(portal).bury(one, count=2)
    gone = await cemetery(portal).bury(one, kept=False)
    await portal.services.store.connection.ask(
        "DEL", f"{portal.services.store.connection.prefix}claim:{{{gone[0].claim_id}}}"
    )
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/letters/replay/choose"))
        assert "Replay 3 letters" in page
        assert "body gone" in page
        assert ">Replay 2</button>" in page
        missing = await visitor.post("/letters/replay/choose", {"type": "market.#", "rate": "7"})
        assert missing.status == 422
        assert "say why" in text(missing)
        assert 'value="7"' in text(missing)
        fields = {"id": [one.id for one in buried], "reason": "mended", "rate": "7", "canary": "yes"}
        led = await visitor.post("/letters/replay/choose", fields)
        assert re.fullmatch(r"/replays/rp_\w+\?said=replaying", led.headers["location"])
        page = text(await visitor.get(led.headers["location"]))
        assert "Replay of 2 letters" in page
        assert "7 a second to each endpoint, a canary first" in page
        assert 'hx-trigger="every 1s"' in page
        assert (await visitor.get("/letters/replay/choose?type=oms.%23")).status == 422
        assert (await visitor.post("/letters/replay/choose", {"reason": "x", "rate": "-1"})).status == 422


async def test_a_preflight_of_very_many_letters_comes_after_the_page(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "AT_ONCE", 1)
    await cemetery(portal).bury(endpoint(portal), count=2)
    async with uaa(portal) as visitor:
        page = text(await visitor.get("/letters/replay/choose?type=market.%23"))
        [later] = re.findall(r'hx-get="([^"]+)" hx-trigger="load"', page)
        assert ">Replay 2</button>" not in page
        assert ">Replay 2</button>" in text(await visitor.get(later))


async def test_a_replay_is_paused_resumed_and_cancelled(portal: Portal) -> None:
    buried = await cemetery(portal).bury(endpoint(portal), count=2)
    async with uaa(portal) as visitor:
        led = await visitor.post("/letters/replay/choose", {"reason": "mended"})
        here = led.headers["location"].partition("?")[0]
        for turning, said in (("pause", "Paused."), ("resume", "It goes on."), ("cancel", "Cancelled.")):
            got = await visitor.post(f"{here}/{turning}", {"reason": "because"})
            assert got.status == 303
            assert said in text(await visitor.get(got.headers["location"]))
        again = await visitor.post(f"{here}/resume")
        assert again.status == 422
        assert "is cancelled already" in text(again)
        page = text(await visitor.get(f"{here}?state=cancelled"))
        assert all(one.id in page for one in buried)
        assert re.findall(r'(?:aria-current="true")?>([a-z ]+ <b>\d</b>)', page) == [
            "cancelled <b>2</b>",
            "all <b>2</b>",
        ]
        assert "None." in text(await visitor.get(f"{here}?state=waiting"))
    async with logged_in(portal) as visitor:
        for query, is_there in (("", True), ("?state=cancelled", True), ("?state=running", False)):
            assert (here in text(await visitor.get(f"/replays{query}"))) is is_there
        assert "No replay is running" in text(await visitor.get("/replays?state=running"))


async def test_who_pauses_or_cancels_a_replay_is_asked_why_and_the_audit_has_it(portal: Portal) -> None:
    await cemetery(portal).bury(endpoint(portal))
    async with uaa(portal) as visitor:
        led = await visitor.post("/letters/replay/choose", {"reason": "mended"})
        here = led.headers["location"].partition("?")[0]
        for turning in ("pause", "cancel"):
            [form] = re.findall(rf'<form[^>]*/{turning}".*?</form>', text(await visitor.get(here)))
            for asked in ('data-ask="', '<input type="hidden" name="reason" value="">'):
                assert asked in form
            assert (await visitor.post(f"{here}/{turning}", {"reason": f"to {turning} it"})).status == 303
            if turning == "pause":
                assert "to pause it" in text(await visitor.get(here))
    with portal.services.database.snapshot() as sql:
        acts = audit.find(sql, kind="replay", object_id=here.rpartition("/")[2]).rows
    assert [(one.action, one.reason) for one in acts] == [
        ("cancelled", "to cancel it"),
        ("paused", "to pause it"),
        ("created", "mended"),
    ]


async def test_a_replay_that_cannot_be_paused_now_says_so_on_its_page(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise UnavailableError("something is away")

    await cemetery(portal).bury(endpoint(portal))
    async with uaa(portal) as visitor:
        led = await visitor.post("/letters/replay/choose", {"reason": "mended"})
        here = led.headers["location"].partition("?")[0]
        monkeypatch.setattr("claimbus.portal.desk.replays.pause", away)
        got = await visitor.post(f"{here}/pause", {"reason": "until noon"})
        assert (got.status, got.headers["retry-after"]) == (503, "5")
        for said in (
            "Replay of 1 letter",
            "To do it twice does no harm.",
            'name="reason" value="until noon"',
        ):
            assert said in text(got)


async def test_to_choose_none_by_hand_is_not_to_choose_all(portal: Portal) -> None:
    [one, _] = await cemetery(portal).bury(endpoint(portal), count=2)
    async with logged_in(portal) as visitor:
        assert 'name="by_hand" value="yes"' in text(await visitor.get("/letters"))
        for deed in ("replay", "discard"):
            got = await visitor.get(f"/letters/{deed}/choose?by_hand=yes")
            assert got.status == 422
            assert "choose at least one" in text(got)
            assert "2 letters" not in text(got)
            assert "1 letter<" in text(await visitor.get(f"/letters/{deed}/choose?by_hand=yes&id={one.id}"))


async def test_what_can_be_done_with_letters_is_what_their_state_allows(portal: Portal) -> None:
    buried = await cemetery(portal).bury(endpoint(portal), count=2)
    async with logged_in(portal) as visitor:
        fields = {"id": buried[0].id, "reason": "of no use"}
        await visitor.get("/letters")
        assert (await visitor.post("/letters/discard/choose", fields)).status == 303
        offered = {
            state: set(re.findall(r">(\w+) the chosen…", text(await visitor.get(f"/letters?state={state}"))))
            for state in ("dead", "discarded", "any")
        }
        assert offered == {
            "dead": {"Replay", "Discard"},
            "discarded": {"Restore"},
            "any": {"Replay", "Discard", "Restore"},
        }


async def test_a_group_leads_to_its_letters_and_no_others(portal: Portal) -> None:
    one, other = endpoint(portal, name=HTML), endpoint(portal, name="other")
    await cemetery(portal).bury(one, count=3)
    await cemetery(portal).bury(other, cause="expired", detail="older than 72 h", status=None)
    with portal.services.database.transaction() as sql:
        old = datetime.now(UTC) - timedelta(hours=5)
        sql.execute(update(schema.letters).filter_by(endpoint_id=other.id).values(died_at=old))
    async with logged_in(portal) as visitor:
        for by in pages.GROUPINGS:
            page = text(await visitor.get(f"/letters/groups?by={by}"))
            counts = [int(count) for count in re.findall(r'data-name="Letters" class="number">(\d+)<', page)]
            narrowed = re.findall(r'<a href="(/letters\?[^"]+)"><strong>', page)
            assert len(narrowed) == len(counts)
            for address, count in zip(narrowed, counts, strict=True):
                assert text(await visitor.get(address)).count('name="id"') == count, (by, address)
        named = await visitor.get("/letters/groups?by=endpoint")
        assert f"{HTML} of PGAE" in text(named)
        assert HTML.encode() not in named.body
        masked = text(await visitor.get("/letters/groups?cause=expired"))
        assert 'older than <i class="any">number</i> h' in masked


async def test_letters_are_discarded_with_a_reason_and_restored(portal: Portal) -> None:
    buried = await cemetery(portal).bury(endpoint(portal), count=3)
    async with logged_in(portal) as visitor:
        assert "Discard 3 letters" in text(await visitor.get("/letters/discard/choose"))
        assert (await visitor.post("/letters/discard/choose", {"id": buried[0].id})).status == 422
        fields = {"id": [one.id for one in buried[:2]], "reason": "of no use"}
        got = await visitor.post("/letters/discard/choose", fields)
        assert got.headers["location"] == "/letters/groups?said=discarded"
        page = text(await visitor.get("/letters/groups"))
        assert re.findall(r">(\d dead|\d discarded)</a>", page)[:2] == ["1 dead", "2 discarded"]
        assert "of no use" in text(await visitor.get(f"/letters/{buried[0].id}"))
        assert "Restore all" in text(await visitor.get("/letters?state=discarded"))
        got = await visitor.post("/letters/restore/choose", {"reason": "of use after all"})
        assert got.headers["location"] == "/letters/groups?said=restored"
        assert "3 dead" in text(await visitor.get("/letters/groups"))
    async with uaa(portal) as visitor:
        assert (await visitor.get("/letters/discard/choose")).status == 403
        assert (await visitor.post("/letters/discard/choose", {"reason": "x"})).status == 403


async def test_letters_come_by_pages_and_filters(portal: Portal) -> None:
    one = endpoint(portal)
    await cemetery(portal).bury(one, count=52)
    await cemetery(portal).bury(one, event("PGAE", type_="oms.resource-outage.ended"))
    async with uaa(portal) as visitor:
        first = text(await visitor.get("/letters?type=market.%23"))
        [following] = re.findall(r'href="([^"]+)" rel="next"', first)
        second = text(await visitor.get(f"/letters{following}"))
        assert (first.count('class="id"'), second.count('class="id"')) == (50, 2)
        assert text(await visitor.get("/letters?type=oms.*.ended")).count('class="id"') == 1
        for wrong, field in (("type=OMS", "type"), ("since=soon", "since"), ("cursor=x", "cursor")):
            got = await visitor.get(f"/letters?{wrong}")
            assert got.status == 422
            assert f">{field}</a>:" in text(got) or f"{field}:" in text(got)


async def test_a_moment_of_an_address_stands_in_its_field_in_the_isos_own_time(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        for moment, value in (
            ("2026-01-15T18:30:00+00:00", "2026-01-15T10:30"),
            ("2026-01-15T18:30", "2026-01-15T18:30"),
            ("0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00+00:00"),
        ):
            page = text(await visitor.get(f"/letters?{urlencode({'since': moment})}"))
            assert f'type="datetime-local" value="{value}"' in page, moment


async def test_a_replay_is_for_who_made_it_and_for_operators(portal: Portal) -> None:
    [letter] = await cemetery(portal).bury(endpoint(portal))
    with portal.services.database.transaction() as sql:
        job = replays.create(sql, [letter.id], ACT, selection={}, rate=None, canary=False)
    async with uaa(portal) as visitor:  # made by somebody else
        assert (await visitor.get(f"/replays/{job.id}")).status == 403
        page = text(await visitor.get("/replays"))
        assert job.id not in page
        assert 'href="/replays" aria-current="page"' in page
    async with logged_in(portal, Role.OPERATOR) as visitor:
        assert (await visitor.get(f"/replays/{job.id}")).status == 200
        assert (await visitor.get("/replays/rp_none")).status == 404
        assert (await visitor.get("/letters/dl_none")).status == 404
