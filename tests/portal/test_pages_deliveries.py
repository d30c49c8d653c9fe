"""The pages of deliveries: found, looked at, downloaded, sent once more."""

import csv
import re

import pytest
from sqlalchemy import update

from claimbus.database import attempts, audit, schema
from claimbus.database.audit import Subject
from claimbus.database.endpoint import Endpoint
from tests.deadletters.stage import event
from tests.portal.portals import ACT, Portal
from tests.portal.seeding import HTML, attempt, cemetery, endpoint, logged_in, record, text, uaa


@pytest.fixture(autouse=True)
def pgae(portal: Portal) -> None:
    portal.participant("PGAE")


def sent_again(portal: Portal, at: Endpoint) -> str:
    """What the tickets of what was sent once more to an endpoint carry."""
    with portal.services.database.snapshot() as sql:
        acts = audit.find(sql, kind="endpoint", object_id=at.id).rows
    [told] = (one.after for one in acts if one.action == "sent again")
    assert told is not None
    return str(told["replay"])


async def test_before_the_first_delivery_the_page_says_what_will_be_there(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        assert "Nothing was delivered yet" in text(await visitor.get("/deliveries"))
        assert "Nothing is like that" in text(await visitor.get("/deliveries?partitionkey=1"))


async def test_attempts_are_found_by_outage_type_verdict_endpoint_and_time(portal: Portal) -> None:
    one, other = endpoint(portal, name="one"), endpoint(portal, name="other")
    record(
        portal,
        attempt(one, partitionkey="111"),
        attempt(one, partitionkey="222", verdict="failed", status=503, type="market.dam.closed"),
        attempt(other, partitionkey="333", started_ms=1_700_000_000_000),
    )
    async with uaa(portal) as visitor:
        for query, found in (
            ("", {"111", "222", "333"}),
            ("partitionkey=111", {"111"}),
            ("type=market.dam.closed", {"222"}),
            ("verdict=failed", {"222"}),
            (f"endpoint={other.id}", {"333"}),
            ("participant=PGAE&until=2024-01-01T00:00", {"333"}),
            ("since=2024-01-01T00:00&message=evt_1", {"111", "222"}),
        ):
            page = text(await visitor.get(f"/deliveries?{query}"))
            assert {key for key in ("111", "222", "333") if f"{key}, no. 3" in page} == found
            lines = (await visitor.get(f"/deliveries.csv?{query}")).body.decode().splitlines()
            assert {row["partitionkey"] for row in csv.DictReader(lines)} == found


async def test_a_filter_that_cannot_be_read_is_told_at_its_field(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        got = await visitor.get("/deliveries?since=soon&partitionkey=kept")
        assert got.status == 422
        assert "'soon' is no date and time" in text(got)
        assert 'value="kept"' in text(got)
        assert (await visitor.get("/deliveries?cursor=x")).status == 422
        assert (await visitor.get("/deliveries.csv?until=soon")).status == 422


async def test_more_than_a_page_is_led_on_to_with_the_filters_kept(portal: Portal) -> None:
    one = endpoint(portal)
    record(portal, *(attempt(one, started_ms=1_700_000_000_000 + n, sequence=n) for n in range(60)))
    async with uaa(portal) as visitor:
        first = text(await visitor.get("/deliveries?verdict=delivered"))
        [following] = re.findall(r'href="([^"]+)" rel="next"', first)
        assert "verdict=delivered" in following
        second = text(await visitor.get(f"/deliveries{following}"))
        assert (first.count("no. "), second.count("no. ")) == (50, 10)


async def test_a_search_says_how_far_back_it_has_come_and_goes_on_from_there(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = endpoint(portal)
    record(
        portal, attempt(one, started_ms=1_700_000_000_000, type="market.dam.reopened", partitionkey="rare")
    )
    record(portal, *(attempt(one, started_ms=1_700_000_060_000 + n) for n in range(120)))
    monkeypatch.setattr(attempts, "PATIENCE", 0)
    async with uaa(portal) as visitor:
        address = "/deliveries?type=market.dam.reopened"
        page = text(await visitor.get(address))
        assert "Nothing is like that so far" in page
        assert "No event type" not in page
        looks = 0
        while "Searched back to" in page:
            looks += 1
            [further] = re.findall(r'href="([^"]+)" rel="next">Search further back', page)
            page = text(await visitor.get(f"/deliveries{further}"))
        assert looks == 2
        assert "rare, no. 3" in page
        assert 'rel="next"' not in page
        [_, line] = (await visitor.get(address.replace("?", ".csv?"))).body.decode().splitlines()
        assert ",rare," in line


async def test_a_slip_in_an_event_type_is_told(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        assert "is called <code>market.dam.close</code>." in text(
            await visitor.get("/deliveries?type=market.dam.close")
        )


async def test_a_delivery_shows_each_attempt_with_its_answer_as_text(portal: Portal) -> None:
    one = endpoint(portal, url="https://one.invalid/")
    record(
        portal,
        attempt(one, started_ms=1, verdict="failed", status=502, next="retry 5s", answer_head=HTML.encode()),
        attempt(one, started_ms=2, attempt=2, replay="rp_1"),
    )
    async with uaa(portal) as visitor:
        got = await visitor.get(f"/deliveries/{one.id}/evt_1")
        assert b"<script>alert" not in got.body
        assert b"<img src=x" not in got.body
        page = text(got)
        for said in ("HTTP 502", HTML, "retry 5s", "HTTP 204", "ce-id: %C3%A4%201", "ce-sequence: 3"):
            assert said in page
        for said in ("webhook-id: evt_1", "claimbus-attempt: 2", "claimbus-replay: rp_1", "(not kept)"):
            assert said in page
        assert page.count("Request headers</summary>") == page.count("webhook-id: evt_1") == 2
        assert "claimbus-attempt: 1" in page
        assert "whsec_" not in page
        assert "webhook-timestamp: 0" in page  # when it was tried, and no other time
        assert "rebuilt from what is recorded, for how the endpoint receives now" in page


async def test_a_filter_that_is_used_less_is_in_sight_when_it_is_used(portal: Portal) -> None:
    async with uaa(portal) as visitor:
        assert '<details class="more">' in text(await visitor.get("/deliveries?verdict=failed"))
        for query in ("since=2026-01-01T00:00", "message=evt_1", "replay=rc_1"):
            assert '<details class="more" open>' in text(await visitor.get(f"/deliveries?{query}"))


async def test_what_was_never_tried_is_told(portal: Portal) -> None:
    one = endpoint(portal)
    async with uaa(portal) as visitor:
        assert (await visitor.get(f"/deliveries/{one.id}/evt_2")).status == 404


async def test_a_delivery_is_sent_once_more_with_a_reason(portal: Portal) -> None:
    one = endpoint(portal)
    sent = event("PGAE")
    [ticket] = await cemetery(portal).tickets(sent)
    record(portal, attempt(one, message_id=sent.identity, claim_id=ticket.claim_id, type=sent.type))
    async with uaa(portal) as visitor:
        await visitor.post(
            f"/endpoints/{one.id}/settings", {"name": "two"}
        )  # its queue is there from then on
        here = f"/deliveries/{one.id}/{sent.identity}"
        refused = await visitor.post(f"{here}/resend")
        assert refused.status == 422
        assert "say why it is sent once more" in text(refused)
        got = await visitor.post(f"{here}/resend", {"reason": "they lost it"})
        assert got.headers["location"] == f"{here}?said=resent#attempts"
        waiting = text(await visitor.get(got.headers["location"]))
        assert "Sent once more." in waiting
        [watched] = re.findall(r'hx-get="([^"]+)" hx-trigger="every 1s"', waiting)
        assert "Waiting for the new attempt" in text(await visitor.get(watched))
        assert "hx-trigger" not in text(await visitor.get(f"{here}?asked=60"))
        record(portal, attempt(one, message_id=sent.identity, replay=sent_again(portal, one)))
        there = text(await visitor.get(watched))
        assert "2 attempts" in there
        assert "hx-trigger" not in there
        assert "they lost it" in text(await visitor.get("/audit"))


async def test_a_delivery_tells_whether_what_was_sent_once_more_arrived(portal: Portal) -> None:
    one, other = endpoint(portal), event("PGAE")
    sent = event("PGAE")
    for each, ticket in zip((sent, other), await cemetery(portal).tickets(sent, other), strict=True):
        record(portal, attempt(one, message_id=each.identity, claim_id=ticket.claim_id, type=each.type))
    here = f"/deliveries/{one.id}/{sent.identity}"
    async with uaa(portal) as visitor:
        await visitor.post(f"/endpoints/{one.id}/settings", {"name": "two"})  # its queue is there now
        assert "Sent once more" not in text(await visitor.get(here))
        assert (await visitor.post(f"{here}/resend", {"reason": "they lost it"})).status == 303
        assert "not tried yet</span></p>" in text(await visitor.get(here))
        await visitor.post(f"/endpoints/{one.id}/pause")
        assert "The endpoint is paused: its queue keeps it." in text(await visitor.get(here))
        tried = attempt(one, message_id=sent.identity, replay=sent_again(portal, one))
        failed = tried._replace(
            verdict="failed", next="retry 5s", started_ms=tried.started_ms - 1, id=attempts.new_id()
        )
        for made, said in ((failed, ">failed</span></a> retry 5s</p>"), (tried, ">delivered</span></a></p>")):
            record(portal, made)
            page = text(await visitor.get(here))
            assert f'<a href="#attempt-{made.id}">' in page
            assert said in page
            assert f'id="attempt-{made.id}"' in page
        assert "Sent once more" not in text(await visitor.get(f"/deliveries/{one.id}/{other.identity}"))
    got = await portal.get(f"/v1{here}", token=portal.token_of("PGAE"))
    [told] = got.json["resent"]
    assert (told["replay"], told["verdict"], told["next"]) == (tried.replay, "delivered", "ack")


async def test_what_was_given_up_before_it_was_tried_once_more_is_told(portal: Portal) -> None:
    one = endpoint(portal)
    [letter] = await cemetery(portal).bury(one, cause="endpoint gone")
    record(portal, attempt(one, message_id=letter.message_id))
    told = {"message_id": letter.message_id, "replay": "rc_1"}
    with portal.services.database.transaction() as sql:
        audit.append(sql, ACT, "sent again", Subject("endpoint", one.id), after=told)
    async with uaa(portal) as visitor:
        here = f"/deliveries/{one.id}/{letter.message_id}"
        page = text(await visitor.get(here))
        assert ("not tried yet" in page, "hx-trigger" in page) == (True, True)
        with portal.services.database.transaction() as sql:
            sql.execute(update(schema.letters).values(replay="rc_1"))
        page = text(await visitor.get(here))
        assert ("given up</span>" in page, "hx-trigger" in page) == (True, False)


async def test_what_became_a_dead_letter_leads_to_it(portal: Portal) -> None:
    one = endpoint(portal)
    [letter] = await cemetery(portal).bury(one)
    record(portal, attempt(one, message_id=letter.message_id, verdict="rejected", next="dead letter"))
    async with uaa(portal) as visitor:
        page = text(await visitor.get(f"/deliveries/{one.id}/{letter.message_id}"))
        assert f'href="/letters/{letter.id}"' in page
        assert f'href="/letters/replay/choose?id={letter.id}"' in page


async def test_no_cell_of_the_download_is_a_formula(portal: Portal) -> None:
    one = endpoint(portal)
    record(portal, attempt(one, detail="=1+1"))
    async with logged_in(portal) as visitor:
        got = await visitor.get("/deliveries.csv")
        assert got.headers["content-type"] == "text/csv; charset=utf-8"
        assert "attachment" in got.headers["content-disposition"]
        assert b",'=1+1," in got.body
