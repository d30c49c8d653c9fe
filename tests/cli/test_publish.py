"""``claimbus publish``, ``market`` and ``notice``, on the real bus."""

import json
import random
from pathlib import Path

import pytest

from claimbus.events.catalogue import lookup
from claimbus.events.event import ALL
from tests.cli.terminal import Terminal
from tests.producers.bus import Bus

TYPE = "market.dam.closed"
BODY = json.dumps(lookup(TYPE).example).encode()


@pytest.fixture
def body(tmp_path: Path) -> Path:
    file = tmp_path / "body.json"
    file.write_bytes(BODY)
    return file


async def test_an_event_is_published_from_a_file_and_from_standard_input(
    bus: Bus, terminal: Terminal, body: Path
) -> None:
    first = terminal("publish", TYPE, "--body", body, "--json").json
    command = ("publish", TYPE, "--body", "-", "--json")
    second = (terminal(*command, stdin=BODY)).json
    tickets = await bus.hears(2)
    assert [first["message_id"], second["message_id"]] == [ticket.message_id for ticket in tickets]
    event = (await bus.redeem(tickets[0])).event
    assert (event.source, event.body, event.audience) == ("urn:claimbus:test:market", BODY, ALL)
    assert event.id == first["id"]


async def test_what_is_given_is_in_the_event(bus: Bus, terminal: Terminal, body: Path) -> None:
    terminal("participants", "add", "PGAE", "--organisation", "Pacific")
    given = ("--id", "closed-1", "--source", "urn:iso:test", "--subject", "dam", "--time", "2026-03-05 10:00")
    terminal("publish", TYPE, "--body", body, "--to", "PGAE", *given)
    (ticket,) = await bus.hears(1)
    event = (await bus.redeem(ticket)).event
    assert (event.id, event.source, event.subject) == ("closed-1", "urn:iso:test", "dam")
    assert event.time.isoformat() == "2026-03-05T18:00:00+00:00"
    assert event.audience == frozenset({"PGAE"})


async def test_a_second_publish_of_an_id_is_recognised_and_another_body_is_a_conflict(
    bus: Bus, terminal: Terminal, body: Path
) -> None:
    command = ("publish", TYPE, "--id", "one", "--body", body)
    states = [terminal(*command, "--json").json["state"] for _ in range(2)]
    assert states == ["published", "known"]
    conflict = terminal(*command[:-1], "-", stdin=BODY + b" ", code=1)
    assert "another body" in conflict.err
    assert len(await bus.hears(1)) == 1


@pytest.mark.parametrize(
    ("words", "stdin", "told"),
    [
        (("market.dam.shut",), BODY, "type: 'market.dam.shut' is not in the catalogue"),
        ((TYPE,), b"{}", "body.market: is required"),
        ((TYPE,), b"<xml/>", "--body: is not JSON"),
        ((TYPE, "--to", "pge"), BODY, "--to: 'pge' is no participant ID"),
        ((TYPE, "--to", "NOBODY"), BODY, "--to: there is no participant NOBODY"),
        ((TYPE, "--id", "x" * 200), BODY, "--id: must have 1 to 128 characters"),
        ((TYPE, "--content-type", "text"), BODY, "--content-type: 'text' is not of the form type/subtype"),
    ],
)
def test_a_bad_event_is_refused_with_its_field(
    terminal: Terminal, words: tuple[str, ...], stdin: bytes, told: str
) -> None:
    answer = terminal("publish", *words, "--body", "-", code=1, stdin=stdin)
    assert answer.err.startswith(f"claimbus: {told}")
    assert answer.err.count("\n") == 1
    assert answer.out == ""


def test_an_unreadable_body_is_told(terminal: Terminal, tmp_path: Path) -> None:
    assert "No such file" in terminal("publish", TYPE, "--body", tmp_path / "none", code=1).err
    assert "directory" in terminal("publish", TYPE, "--body", tmp_path, code=1).err


async def test_a_large_body_is_streamed(bus: Bus, terminal: Terminal, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3_000_000)
    (tmp_path / "prices.bin").write_bytes(content)
    command = ("publish", "market.dam.results-published", "--content-type", "application/octet-stream")
    terminal(*command, "--body", tmp_path / "prices.bin")
    (ticket,) = await bus.hears(1)
    claim = await bus.redeem(ticket)
    assert claim.chunks > 0
    assert b"".join([piece async for piece in bus.store.body(claim)]) == content
    answer = terminal.but(max_body="2000000")(*command, "--body", tmp_path / "prices.bin", code=1)
    assert "the limit is 2,000,000" in answer.err
    assert len(bus.tickets) == 1


async def test_a_market_event_told_twice_is_one_event(bus: Bus, terminal: Terminal) -> None:
    states = [
        terminal("market", *words, "--json").json["state"]
        for words in (
            ("close", "DAM", "--trade-date", "2026-03-05"),
            ("close", "dam", "--trade-date", "2026-03-05"),
            ("reopen", "dam", "--trade-date", "2026-03-05", "--reason", "bids were lost"),
            ("reclose", "dam", "--trade-date", "2026-03-05"),
            ("reopen", "dam", "--trade-date", "2026-03-05", "--occurrence", "2"),
            ("close", "rtm", "--trade-date", "2026-03-05", "--hour", "7"),
            ("delay", "ruc", "--trade-date", "2026-03-05", "--due", "2026-03-05 14:00"),
        )
    ]
    assert states == ["published", "known", *["published"] * 5]
    tickets = await bus.hears(6)
    assert [ticket.type for ticket in tickets] == [
        "market.dam.closed",
        "market.dam.reopened",
        "market.dam.reclosed",
        "market.dam.reopened",
        "market.rtm.closed",
        "market.ruc.publication-delayed",
    ]
    bodies = [json.loads((await bus.redeem(ticket)).event.body) for ticket in tickets]
    assert bodies[1]["reason"] == "bids were lost"
    assert bodies[4]["starts"] == "2026-03-05T14:00:00Z"
    assert bodies[5]["due"] == "2026-03-05T22:00:00Z"


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("close", "ruc"), "event"),
        (("close", "spot"), "market"),
        (("close", "rtm"), "--hour"),
        (("close", "rtm", "--hour", "25"), "--hour"),
        (("close", "dam", "--hour", "1"), "--hour"),
        (("close", "dam", "--occurrence", "0"), "--occurrence"),
    ],
)
def test_an_impossible_market_event_is_refused(
    terminal: Terminal, words: tuple[str, ...], field: str
) -> None:
    answer = terminal("market", *words, "--trade-date", "2026-03-05", code=1)
    assert answer.err.startswith(f"claimbus: {field}: ")


async def test_a_notice_is_published(bus: Bus, terminal: Terminal) -> None:
    command = ["notice", "publish", "TLS 1.1 ends", "--text", "Use TLS 1.2.", "--id", "tls"]
    command += ["--kind", "protocol-disabled", "--effective", "2026-04-01"]
    first, second = (terminal(*command, "--json").json for _ in range(2))
    assert (first["state"], second["state"]) == ("published", "known")
    (ticket,) = await bus.hears(1)
    body = json.loads((await bus.redeem(ticket)).event.body)
    assert (body["title"], body["effective"]) == ("TLS 1.1 ends", "2026-04-01T07:00:00Z")


async def test_events_kept_in_an_outbox_are_relayed_when_the_servers_are_back(
    bus: Bus, terminal: Terminal, body: Path, tmp_path: Path
) -> None:
    box = tmp_path / "outbox"
    away = terminal.but(amqp_url="amqp://127.0.0.1:1", redis_url="redis://127.0.0.1:1")
    day = ("dam", "--trade-date", "2026-03-05")
    kept = [
        away(*words, "--outbox", box, "--json").json
        for words in (
            ("publish", TYPE, "--body", body),
            ("market", "close", *day),
            ("market", "close", *day, "--reason", "a contradiction"),
            ("market", "reopen", *day),
        )
    ]
    assert {one["state"] for one in kept} == {"kept"}
    waiting = terminal("outbox", "list", box, "--json").json
    assert [one["message_id"] for one in waiting] == [one["message_id"] for one in kept]
    answer = terminal("outbox", "relay", box, "--json", code=1)
    assert answer.json == {"published": 3, "known": 0, "set_aside": 1}
    (aside,) = terminal("outbox", "list", box, "--json").json
    assert "another body" in aside["reason"]
    assert "another body" in terminal("outbox", "list", box).out
    assert terminal("outbox", "retry", box, aside["number"]).out == "1 wait again\n"
    terminal("outbox", "relay", box, code=1)
    assert terminal("outbox", "discard", box, aside["number"]).out == "1 discarded\n"
    assert terminal("outbox", "list", box, "--json").json == []
    tickets = await bus.hears(3)
    assert [ticket.message_id for ticket in tickets] == [kept[n]["message_id"] for n in (0, 1, 3)]


def test_an_outbox_that_is_not_there_is_wrong_usage(terminal: Terminal, tmp_path: Path) -> None:
    assert "there is no outbox" in terminal("outbox", "relay", tmp_path / "none", code=2).err
    assert list(tmp_path.iterdir()) == []
