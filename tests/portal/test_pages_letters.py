"""The pages of dead letters and replays, as UAAs and operators share them."""

import re

import pytest

from claimbus.database import letters, replays
from claimbus.database.access import Role
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
        assert "None." in text(await visitor.get(f"{here}?state=waiting"))
    async with logged_in(portal) as visitor:
        assert here in text(await visitor.get("/replays"))


async def test_letters_are_discarded_with_a_reason_and_restored(portal: Portal) -> None:
    buried = await cemetery(portal).bury(endpoint(portal), count=3)
    async with logged_in(portal) as visitor:
        assert "Discard 3 letters" in text(await visitor.get("/letters/discard/choose"))
        assert (await visitor.post("/letters/discard/choose", {"id": buried[0].id})).status == 422
        fields = {"id": [one.id for one in buried[:2]], "reason": "of no use"}
        got = await visitor.post("/letters/discard/choose", fields)
        assert got.headers["location"] == "/letters/groups?said=discarded"
        assert "1 dead · 2 discarded" in text(await visitor.get("/letters/groups"))
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


async def test_a_replay_is_for_who_made_it_and_for_operators(portal: Portal) -> None:
    [letter] = await cemetery(portal).bury(endpoint(portal))
    with portal.services.database.transaction() as sql:
        job = replays.create(sql, [letter.id], ACT, selection={}, rate=None, canary=False)
    async with uaa(portal) as visitor:  # made by somebody else
        assert (await visitor.get(f"/replays/{job.id}")).status == 403
        assert (await visitor.get("/replays")).status == 403
    async with logged_in(portal, Role.OPERATOR) as visitor:
        assert (await visitor.get(f"/replays/{job.id}")).status == 200
        assert (await visitor.get("/replays/rp_none")).status == 404
        assert (await visitor.get("/letters/dl_none")).status == 404
