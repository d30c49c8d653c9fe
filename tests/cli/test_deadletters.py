"""``claimbus deadletters``: letters are found, grouped, shown and discarded; bad input changes nothing."""

import asyncio
import json
import os
import pty
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from subprocess import Popen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.broker.codec import ENDPOINT_GONE
from claimbus.cli.output import sparkline
from claimbus.cli.selection import CAUSES
from claimbus.database import letters
from claimbus.database.engine import Database
from claimbus.database.letters import DeadLetter, letter_id
from claimbus.events.fingerprint import fingerprint
from consumers.retry import DeadLetter as GivenUp
from consumers.retry import RetryPolicy, next_step
from consumers.verdict import Outcome, Verdict
from tests.cli.terminal import Terminal
from tests.producers.bus import Bus, closed

NOW = datetime.now(UTC).replace(microsecond=0)
REFUSED = ("rejected", 422, "HTTP 422: outage 17 is unknown")
BROKEN = ("attempts exhausted", 503, "HTTP 503")


def letter(
    number: int, what: tuple[str, int, str] = REFUSED, *, hours: float = 0, **fields: str
) -> DeadLetter:
    """A letter that died so many hours ago."""
    cause, status, detail = what
    message_id = f"evt_{number}"
    at = NOW - timedelta(hours=hours)
    known = DeadLetter(
        id=letter_id("ep_1", message_id, 0, None),
        state_at=at,
        died_at=at,
        cause=cause,
        fingerprint=fingerprint(cause, status, detail).id,
        status=status,
        detail=detail,
        attempts=3,
        endpoint_id="ep_1",
        participant_id="PGAE",
        message_id=message_id,
        type="market.dam.closed",
        claim_id=f"claim{number}",
        timestamp=int(at.timestamp()),
        expires=int(at.timestamp()) + 3600,
    )
    return replace(known, **fields)  # type: ignore[arg-type]  # all that tests give are strings


@pytest.fixture
def database(terminal: Terminal, sqlite_url: str) -> Iterator[Database]:
    terminal("participants", "add", "PGAE", "--organisation", "Pacific")
    terminal("participants", "add", "SCE1", "--organisation", "Southern")
    with Database.open(sqlite_url) as database:
        yield database


def put(database: Database, *given: DeadLetter) -> Sequence[DeadLetter]:
    known = {fingerprint(one.cause, one.status, one.detail) for one in given}
    with database.transaction() as sql:
        letters.record(sql, given, known, [])
    return given


def listed(terminal: Terminal, *words: object) -> list[str]:
    """The IDs of the letters that are listed, the newest first."""
    return [one["id"] for one in terminal("deadletters", "list", *words, "--json").json]


def test_letters_are_listed_by_each_filter(terminal: Terminal, database: Database) -> None:
    old, broken, mine, other = put(
        database,
        letter(1, hours=30),
        letter(2, BROKEN, hours=3),
        letter(3, hours=2, type="oms.resource-outage.created"),
        letter(4, hours=1, participant_id="SCE1", endpoint_id="ep_2"),
    )
    assert listed(terminal) == [other.id, mine.id, broken.id, old.id]
    assert listed(terminal, "--cause", "rejected") == [other.id, mine.id, old.id]
    assert listed(terminal, "--group", broken.fingerprint) == [broken.id]
    assert listed(terminal, "--participant", "SCE1") == [other.id]
    assert listed(terminal, "--participant", "SCE1", "--participant", "PGAE", "--limit", "1") == [other.id]
    assert listed(terminal, "--type", "oms.#") == [mine.id]
    assert listed(terminal, "--since", "4h", "--until", "90m") == [mine.id, broken.id]
    assert listed(terminal, "--message", "evt_2") == [broken.id]
    assert listed(terminal, broken.id[:12], "--state", "dead") == [broken.id]
    assert listed(terminal, "--state", "discarded") == []
    answer = terminal("deadletters", "list", "--limit", "2")
    assert other.id in answer.out
    assert broken.id not in answer.out
    assert "more than 2" in answer.err
    assert "no letter is like that" in terminal("deadletters", "list", "--message", "evt_9").err


def test_replaying_all_where_none_is_dead_says_so_and_names_those_that_were_discarded(
    terminal: Terminal, database: Database
) -> None:
    nothing = "claimbus: letters: no letter is dead, so none can be replayed or discarded\n"
    assert terminal("deadletters", "replay", "--all", "--yes", code=2).err == nothing
    first, second = put(database, letter(1), letter(2))
    terminal("deadletters", "discard", first.id, second.id, "--reason", "they know")
    told = terminal("deadletters", "replay", "--all", "--yes", code=2).err
    assert told.endswith(nothing)
    assert f"left out, for they were discarded: {second.id}, {first.id} (" in told
    put(database, *(letter(number) for number in range(3, 9)))
    terminal("deadletters", "discard", "--all", "--reason", "they know")
    told = terminal("deadletters", "discard", "--cause", "rejected", "--reason", "x", code=2).err
    assert told.count("dl_") == 5
    assert ", … (" in told


def test_the_beginning_of_an_id_is_enough_and_one_of_several_is_refused(
    terminal: Terminal, database: Database
) -> None:
    (one,) = put(database, letter(1))
    ids = [
        terminal("endpoints", "add", "PGAE", "--name", str(n), "--stream", "--json").json["id"]
        for n in range(2)
    ]
    for id_ in ids:
        assert terminal("endpoints", "show", id_[:-1], "--json").json["id"] == id_
    for command in (
        "endpoints show",
        "endpoints pause",
        "attempts list --endpoint",
        "deadletters list --endpoint",
    ):
        told = terminal(*command.split(), "ep_", code=2).err
        assert all(id_ in told for id_ in ids)
        assert told.count("\n") == 1
    assert listed(terminal, "--group", one.fingerprint[:4]) == [one.id]
    assert {found["state"] for found in terminal("endpoints", "list", "--json").json} == {"active"}


def test_letters_are_grouped_by_what_went_wrong(terminal: Terminal, database: Database) -> None:
    put(database, *(letter(number, hours=10 - number) for number in range(9)), letter(9, BROKEN, hours=5))
    many, one = terminal("deadletters", "groups", "--json").json
    assert (many["cause"], many["status"], many["count"]) == ("rejected", 422, 9)
    assert "<number>" in many["error"]
    assert many["first"] == (NOW - timedelta(hours=10)).isoformat().replace("+00:00", "Z")
    assert sum(many["trend"]) == 9
    assert listed(terminal, "--group", one["key"]) == [one["sample"]]
    assert (many["example"], one["example"]) == (REFUSED[2], BROKEN[2])
    shown = terminal("deadletters", "groups")
    assert many["key"] in shown.out
    assert "HTTP 503" in shown.out
    assert "█ max 1" in shown.out
    first, last = (f"{NOW - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (10, 2))
    assert shown.err == f"trend: 24 bars of 20m each, from {first} to {last}\n"
    (participant,) = terminal("deadletters", "groups", "--by", "participant", "--json").json
    assert (participant["key"], participant["count"]) == ("PGAE", 10)
    hours = terminal("deadletters", "groups", "--by", "hour", "--since", "5h30m", "--json").json
    assert sum(one["count"] for one in hours) == 5


async def test_a_letter_is_shown_with_its_body_and_who_looked_is_known(
    terminal: Terminal, bus: Bus, database: Database
) -> None:
    event = closed()
    checked_in = await bus.store.check_in(event)
    (dead,) = put(database, letter(1, claim_id=checked_in.claim_id, message_id=event.identity))
    shown = (await terminal.beside("deadletters", "show", dead.id[:10], "--actor", "jane", "--json")).json
    assert shown["letter"]["id"] == dead.id
    assert shown["attributes"]["id"] == event.id
    assert json.loads(shown["body"]["text"]) == json.loads(event.body)
    assert shown["kept_until"] is not None
    text = (await terminal.beside("deadletters", "show", dead.id, "--actor", "jane")).out
    assert '"market": "dam"' in text
    assert "HTTP 422" in text
    written = terminal.directory / "body.json"
    said = await terminal.beside("deadletters", "show", dead.id, "--body", written, "--reason", "a call")
    assert f"{len(event.body)} bytes written" in said.err
    assert written.read_bytes() == event.body
    assert (await terminal.beside("deadletters", "show", dead.id, "--body", "-")).out == event.body.decode()
    looks = terminal("audit", "list", "--object", dead.id, "--json").json
    assert {one["action"] for one in looks} == {"looked"}
    assert {one["actor"] for one in looks} >= {"jane"}
    assert "a call" in {one["reason"] for one in looks}


def test_a_body_that_is_gone_is_told_and_leaves_no_file(terminal: Terminal, database: Database) -> None:
    (dead,) = put(database, letter(1))
    assert "neither in Redis nor" in terminal("deadletters", "show", dead.id).out
    written = terminal.directory / "body"
    assert "neither in Redis nor" in terminal("deadletters", "show", dead.id, "--body", written, code=1).err
    assert not written.exists()
    assert list(terminal.directory.glob("body*")) == []
    assert "cannot be written" in terminal("deadletters", "show", dead.id, "--body", "no/such", code=2).err


def test_letters_are_discarded_with_a_reason_and_restored(terminal: Terminal, database: Database) -> None:
    one, two, other = put(database, letter(1), letter(2), letter(3, BROKEN))
    assert "reason" in terminal("deadletters", "discard", one.id, code=2).err
    words = ("--cause", "rejected", "--reason", "they know", "--actor", "jane")
    assert terminal("deadletters", "discard", *words, "--json").json == {"discarded": 2}
    assert listed(terminal) == [other.id]
    assert set(listed(terminal, "--state", "discarded")) == {one.id, two.id}
    answer = terminal("deadletters", "restore", one.id, other.id)
    assert answer.out == "1 restored\n"
    assert answer.err == f"left out: {other.id} is dead\n"
    assert set(listed(terminal)) == {one.id, other.id}
    (discarded,) = terminal("audit", "list", "--kind", "letters", "--actor", "jane", "--json").json
    assert (discarded["action"], discarded["reason"]) == ("discarded", "they know")


def test_a_preflight_tells_what_stands_in_the_way_and_sends_nothing(
    terminal: Terminal, database: Database
) -> None:
    gone = terminal("endpoints", "add", "PGAE", "--name", "one", "--stream", "--json").json["id"]
    terminal("endpoints", "remove", gone)
    ready, removed = put(database, letter(1), letter(2, endpoint_id=gone))
    words = ("deadletters", "replay", "--all", "--dry-run")
    found = terminal(*words, "--json", code=1).json
    assert (found["letters"], found["ready"]) == (2, 0)
    assert found["not_ready"].keys() == {ready.id, removed.id}
    shown = terminal(*words, code=1)
    assert "removed" in shown.out
    assert "none of them can be sent" in shown.err
    assert "none of them can be sent" in terminal("deadletters", "replay", "--all", "--yes", code=1).err
    assert terminal("replays", "list", "--json").json == []
    assert len(listed(terminal)) == 2


async def test_it_asks_before_it_sends_and_leaves_out_what_is_not_ready(
    terminal: Terminal, bus: Bus, database: Database
) -> None:
    words = ("PGAE", "--name", "one", "--stream")
    endpoint = (await terminal.beside("endpoints", "add", *words, "--json")).json["id"]
    event = closed()
    claim = (await bus.store.check_in(event)).claim_id
    _, gone = put(
        database,
        letter(1, claim_id=claim, message_id=event.identity, endpoint_id=endpoint),
        letter(2, endpoint_id=endpoint),
    )
    words = ("deadletters", "replay", "--all", "--detach")
    code, said = await asyncio.to_thread(typed, terminal, b"n\n", *words)
    assert (code, "Send 1 of 2 letters?" in said, "nothing was sent" in said) == (1, True, True)
    assert terminal("replays", "list", "--json").json == []
    code, _ = await asyncio.to_thread(typed, terminal, b"y\n", *words)
    (job,) = terminal("replays", "list", "--json").json
    assert (code, job["state"], job["total"], job["waiting"], job["skipped"]) == (0, "running", 2, 1, 1)
    assert listed(terminal) == [gone.id]
    assert "body gone" in terminal("replays", "show", job["id"]).out
    paused = terminal("replays", "pause", job["id"], "--reason", "lunch", "--json").json
    assert (paused["state"], paused["state_reason"]) == ("paused", "lunch")
    assert "paused" in terminal("replays", "watch", job["id"], code=1).out
    resumed = terminal("replays", "resume", job["id"], "--keep-going", "--json").json
    assert (resumed["state"], resumed["keep_going"]) == ("running", True)
    assert terminal("replays", "list", "--state", "paused", "--json").json == []


@given(st.lists(st.integers(0, 10**9), max_size=40))
def test_a_trend_has_a_bar_for_each_count_and_higher_ones_for_more(counts: list[int]) -> None:
    bars = sparkline(counts)
    assert len(bars) == len(counts)
    for one, count in zip(bars, counts, strict=True):
        assert (one == "▁") == (count == 0)
        assert one == "█" or count < max(counts) or not count
    by_count = [one for _, one in sorted(zip(counts, bars, strict=True))]
    assert by_count == sorted(bars)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("deadletters show dl_none", "there is none whose ID begins with"),
        ("deadletters show dl_", "is the beginning of several"),
        ("deadletters list dl_none", "there is none whose ID begins with"),
        ("deadletters list --endpoint ep_none", "--endpoint: there is none whose ID begins with 'ep_none'"),
        ("deadletters groups --participant NONE", "NONE"),
        ("deadletters groups --type oms..x", "oms..x"),
        ("deadletters replay dl_none --yes", "there is none whose ID begins with"),
        ("deadletters replay --yes", "letters: say which"),
        ("deadletters replay --state dead --yes", "letters: say which"),
        ("deadletters list --cause wrong", "--cause: 'wrong' is none of attempts exhausted, corrupt,"),
        ("deadletters groups --group zz", "--group: there is none whose ID begins with 'zz'"),
        ("deadletters list --since 1h --until 2h", "--until: is not later than --since"),
        ("deadletters replay --all --state discarded --yes", "--state: only dead letters can be replayed"),
        ("deadletters replay --all", "--yes"),
        ("deadletters replay --cause missing --yes", "there is no such letter that is dead"),
        ("deadletters replay --type oms..x --yes", "oms..x"),
        ("deadletters discard --reason x", "letters: say which"),
        ("deadletters restore --all", "no letter is discarded, so none can be restored"),
        ("replays show rp_none", "rp_none"),
        ("replays watch rp_none", "rp_none"),
        ("replays pause rp_none", "rp_none"),
        ("replays resume rp_none", "rp_none"),
        ("replays cancel rp_none", "rp_none"),
        ("recover --endpoint ep_none --since 1h --yes", "ep_none"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    terminal: Terminal, database: Database, words: str, told: str
) -> None:
    put(database, letter(1), letter(2))
    err = terminal(*words.split(), code=2).err
    assert told in err
    assert err.count("\n") == 1
    assert terminal("replays", "list", "--json").json == []
    assert len(listed(terminal)) == 2


def test_every_cause_that_a_worker_or_the_broker_gives_can_be_asked_for() -> None:
    policy = RetryPolicy(ladder=(1.0,), age_limit=60.0)
    steps = [
        next_step(Outcome(verdict), attempt=attempt, age=age, probe=False, policy=policy)
        for verdict in Verdict
        for attempt in (1, 9)
        for age in (0.0, 100.0)
    ]
    given = {step.cause for step in steps if isinstance(step, GivenUp)}
    assert given | {ENDPOINT_GONE, "undecodable", "delivery-limit"} == set(CAUSES)


def test_a_state_or_time_that_is_none_is_wrong_usage(terminal: Terminal, database: Database) -> None:
    assert "dead again" in terminal("deadletters", "list", "--state", "lost", code=2).err
    assert "yesterday 14:00" in terminal("deadletters", "list", "--until", "monday", code=2).err
    assert "is in the future" in terminal("deadletters", "list", "--since", "tomorrow", code=2).err
    assert listed(terminal, "--state", "dead-again") == []


def typed(terminal: Terminal, answer: bytes, *words: str) -> tuple[int, str]:
    """Run a command on a terminal, answering what it asks; return its exit code and what it said."""
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "claimbus", *words]
    environment = terminal._environment() | {"TERM": "dumb"}
    with Popen(
        command, cwd=terminal.directory, env=environment, stdin=its, stdout=its, stderr=its
    ) as process:
        os.close(its)
        said = b""
        with suppress(OSError):  # what Linux raises at the end of a terminal
            while some := os.read(ours, 65536):
                said += some
                if b"[y/N]" in said and answer:
                    os.write(ours, answer)
                    answer = b""
        os.close(ours)
    return process.returncode, said.decode()
