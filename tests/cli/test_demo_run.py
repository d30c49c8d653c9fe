"""The demo as people run it: real processes, real servers, and a verdict that notices what is wrong."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from claimbus.broker.codec import Letter
from claimbus.broker.publisher import Publisher
from claimbus.broker.topology import DEADLETTERS, Topology, message_counts, parse_ladder
from claimbus.cli.demo.receipt import Receipt, read_receipts
from claimbus.cli.demo.scenario import Scenario, make_scenario
from claimbus.cli.demo.verdict import Verdict, judge
from claimbus.database import attempts, endpoints
from claimbus.database import letters as dead_letters
from claimbus.database.attempts import Attempt
from claimbus.database.engine import Database
from claimbus.database.letters import EVERYTHING, DeadLetter
from claimstore.connection import Connection
from tests.services import management, required

DEMO = [sys.executable, "-m", "claimbus.cli.demo"]
DAYS = 3
LINE = [
    *("published", "expected", "delivered", "duplicates", "superseded"),
    *("dead", "replayed", "dead_after_replay", "held", "lost", "leaked", "seconds"),
]


def environment(**changes: str | None) -> dict[str, str]:
    """What ``./dev demo`` gives; the terminal is wide, so that no path is folded."""
    names = "CLAIMBUS_AMQP_URL", "CLAIMBUS_REDIS_URL", "CLAIMBUS_MANAGEMENT_URL"
    others = {name: value for name, value in os.environ.items() if not name.startswith("CLAIMBUS_")}
    chosen = {**others, **{name: required(name) for name in names}, "COLUMNS": "200", **changes}
    return {name: value for name, value in chosen.items() if value is not None}


@dataclass(frozen=True)
class Done:
    code: int
    lines: list[str]
    directory: Path
    scenario: Scenario

    @property
    def figures(self) -> dict[str, float]:
        found: dict[str, float] = json.loads(self.lines[-1])
        return found


def played(days: int, **changes: str | None) -> Done:
    command = [*DEMO, "--json", "--days", str(days)]
    process = subprocess.run(
        command, env=environment(**changes), capture_output=True, text=True, timeout=110, check=False
    )
    assert process.stderr == ""
    found = re.search(r"^ (/.*) has$", process.stdout, re.MULTILINE)
    assert found is not None, process.stdout
    scenario = make_scenario(days=days)
    return Done(process.returncode, process.stdout.splitlines(), Path(found[1]), scenario)


@pytest.fixture(scope="module")
def done() -> Done:
    return played(DAYS)


def test_the_main_job_passes_its_own_verdict(done: Done) -> None:
    figures = done.figures
    expectation = done.scenario.expectation
    assert done.code == 0
    assert list(figures) == LINE
    assert figures["published"] == len(expectation.audience)
    assert figures["expected"] == sum(map(len, expectation.due.values()))
    assert figures["expected"] == figures["delivered"] + figures["superseded"]
    assert figures["lost"] == figures["leaked"] == figures["held"] == figures["dead_after_replay"] == 0
    assert figures["replayed"] == figures["dead"] > 0


def test_into_a_pipe_it_prints_plain_lines(done: Done) -> None:
    text = "\n".join(done.lines)
    assert "\x1b" not in text
    assert f"publish: trade date {done.scenario.trade_dates[-1]}, {DAYS} of {DAYS}" in text
    assert len(re.findall(r"seen: ", text)) == len(done.scenario.plan.faults)
    assert "✗" not in text
    assert "Everything reached whom it concerns and nobody else" in done.lines[-2]


def test_the_operators_part_is_told_step_by_step(done: Done) -> None:
    text, dead = "\n".join(done.lines), int(done.figures["dead"])
    refusing = next(name for name, fault in done.scenario.plan.faults.items() if fault.kind == "refusing")
    steps = [
        f"operator: {dead} dead, by what went wrong",
        f"dead: {dead} rejected: HTTP 422",
        f"operator: {refusing} has mended its endpoint",
        f"operator: preflight: {dead} ready, 0 not ready",
        rf"operator: replay rp_\w+ running: the first 1 of {dead}",
        rf"operator: replay rp_\w+ done: {dead} delivered, 0 dead again",
        "judge: ",
        rf"✓ +rejected: HTTP 422 +{dead} +{dead} +0 +{dead} +{dead} +0$",
    ]
    assert re.search(".*".join(steps), text, re.DOTALL | re.MULTILINE), text


def test_the_replay_came_once_under_its_first_id_and_to_nobody_else(done: Done) -> None:
    receipts = recorded(done)
    replayed = [one for one in receipts if one.replay]
    refused = [one for one in receipts if one.answered == "422"]
    assert len(replayed) == len({one.identity for one in replayed}) == done.figures["dead"]
    assert {(one.participant, one.webhook_id) for one in replayed} == {
        (one.participant, one.webhook_id) for one in refused
    }
    assert len({one.replay for one in replayed}) == 1


def test_what_it_wrote_can_be_looked_at(done: Done) -> None:
    assert {file.name for file in done.directory.iterdir()} >= {
        "received.jsonl", "worker.log", "receivers.log", "demo.log", "claimbus.db", "owners.csv"
    }  # fmt: skip
    assert oct(done.directory.stat().st_mode)[-3:] == "700"


async def test_the_servers_are_as_before(done: Done) -> None:
    assert all(vhost != done.directory.name for vhost in vhosts())
    async with await Connection.open(required("CLAIMBUS_REDIS_URL")) as redis:
        assert await redis.ask("KEYS", f"{done.directory.name}:*") == []


def doctored(done: Done, receipts: list[Receipt], *, letters: bool = True) -> Verdict:
    """The verdict on the run, had these been its receipts, and had its dead letters been there or not."""
    with Database.open(f"sqlite:///{done.directory / 'claimbus.db'}") as database, database.snapshot() as sql:
        endpoint_ids = {one.id: one.participant_id for one in endpoints.find(sql)}
        skipped = attempts.find(sql, attempts.Filter(verdicts=["superseded"]), limit=10_000).rows
        dead = dead_letters.find(sql, EVERYTHING, limit=10_000).rows
    return judge(
        done.scenario.plan,
        done.scenario.expectation,
        receipts,
        published=int(done.figures["published"]),
        endpoints=endpoint_ids,
        letters=map(letter_row, dead) if letters else [],
        superseded=map(row, skipped),
        held=[],
        seconds=1.0,
    )


def row(found: Attempt | DeadLetter) -> dict[str, object]:
    names = {
        "endpoint": "endpoint_id",
        "type": "type",
        "partitionkey": "partitionkey",
        "sequence": "sequence",
    }
    return {name: getattr(found, attribute) for name, attribute in names.items()}


def letter_row(found: DeadLetter) -> dict[str, object]:
    told = {"cause": found.cause, "state": found.state, "replay": found.replay_id}
    return row(found) | told | {"group": "all", "unready": ""}


def recorded(done: Done) -> list[Receipt]:
    return list(read_receipts(done.directory / "received.jsonl"))


def test_its_verdict_is_that_of_the_record(done: Done) -> None:
    found = doctored(done, recorded(done))
    assert found.ok
    assert found.as_json() | {"seconds": 0} == done.figures | {"seconds": 0}


def test_a_delivery_that_had_not_come_would_be_lost(done: Done) -> None:
    receipts = recorded(done)
    market = next(one for one in receipts if one.accepted and one.identity.type == "market.dam.closed")
    rest = [
        one for one in receipts if (one.participant, one.identity) != (market.participant, market.identity)
    ]
    found = doctored(done, rest)
    assert not found.ok
    assert [(lost.participant, lost.event) for lost in found.lost] == [(market.participant, market.identity)]


def test_without_its_dead_letters_what_was_refused_would_be_lost(done: Done) -> None:
    found = doctored(done, [one for one in recorded(done) if one.replay is None], letters=False)
    assert len(found.lost) == done.figures["dead"]


def test_a_replay_that_had_not_come_would_be_lost(done: Done) -> None:
    found = doctored(done, [one for one in recorded(done) if one.replay is None])
    assert len(found.lost) == found.replayed == done.figures["dead"]
    assert not found.ok


def test_a_replay_that_reached_the_others_too_would_be_a_leak(done: Done) -> None:
    receipts = recorded(done)
    replayed = next(one for one in receipts if one.replay)
    other = next(one for one in receipts if one.participant != replayed.participant)
    found = doctored(done, [*receipts, replace(other, replay=replayed.replay)])
    assert [leak.reason for leak in found.leaked] == ["came by a replay that it is not in"]


def test_an_audience_check_that_failed_would_be_a_leak(done: Done) -> None:
    receipts, audience = recorded(done), done.scenario.expectation.audience
    private = next(one for one in receipts if audience.get(one.identity) is not None)
    stranger = next(
        name for name in done.scenario.participants if name not in (audience[private.identity] or ())
    )
    found = doctored(done, [*receipts, replace(private, participant=stranger)])
    assert {leak.participant for leak in found.leaked} == {stranger}
    assert "is not for this participant" in {leak.reason for leak in found.leaked}


def test_a_body_with_the_audience_in_it_would_be_a_leak(done: Done) -> None:
    receipts = recorded(done)
    other = next(one.participant for one in receipts if one.participant != receipts[0].participant)
    receipts[0] = replace(receipts[0], body=receipts[0].body + f', "bcc": "{other}"'.encode())
    found = doctored(done, receipts)
    assert [leak.reason for leak in found.leaked] == [f"names {other} in the body"]


def test_a_given_vhost_is_left_without_queues_of_the_run(amqp_url: str) -> None:
    """Without the management API there is no vhost of its own."""
    found = played(1, CLAIMBUS_AMQP_URL=amqp_url, CLAIMBUS_MANAGEMENT_URL=None)
    assert (found.code, found.figures["lost"]) == (0, 0)
    vhost = amqp_url.rpartition("/")[2]
    queues = management("GET", f"/queues/{vhost}")
    assert isinstance(queues, list)
    names = {queue["name"] for queue in queues}
    assert "deadletters" in names
    assert not any(name.startswith("endpoint.") for name in names)


async def test_in_a_given_vhost_it_takes_nobodys_dead_letters(amqp_url: str) -> None:
    publisher = await Publisher.open(amqp_url, topology=Topology(ladder=parse_ladder("5s")))
    await publisher.publish_letter(
        Letter(body=b"?", ticket=None, endpoint=None, cause="undecodable", detail="", attempts=0)
    )
    settings = environment(CLAIMBUS_AMQP_URL=amqp_url, CLAIMBUS_MANAGEMENT_URL=None)
    run = partial(subprocess.run, DEMO, env=settings, capture_output=True, text=True, timeout=60, check=False)
    done = await asyncio.to_thread(run)
    counts = await message_counts(publisher.connection, [DEADLETTERS])
    await publisher.aclose()
    assert done.returncode == 1
    assert "demo: CLAIMBUS_AMQP_URL: names a vhost with dead letters of somebody else's" in done.stdout
    assert counts[DEADLETTERS] == (DEADLETTERS, 1, 0)


@pytest.mark.parametrize(
    ("told", "when"), [(signal.SIGINT, "publish: "), (signal.SIGTERM, "participants: waiting")]
)
def test_when_stopped_it_leaves_nothing_behind(told: signal.Signals, when: str) -> None:
    process = psutil.Popen(DEMO, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        name = ""
        while when not in (line := process.stdout.readline()):
            found = re.search(r"in a vhost of its own, (\S+)", line)
            name = found[1] if found else name
        children = process.children(recursive=True)
        assert len(children) >= 3  # the receivers and, perhaps just begun, the workers; each with a guard
        process.send_signal(told)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert "demo: stopped, and everything that it started" in out
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert name not in vhosts()


def vhosts() -> list[str]:
    found = management("GET", "/vhosts")
    assert isinstance(found, list)
    return [vhost["name"] for vhost in found]


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "said"),
    [
        (["--days", "0"], {}, 2, "--days"),
        (["--report", "nowhere.csv"], {}, 2, "nowhere.csv"),
        (["--owners", __file__, "--participants", "9"], {}, 2, "--participants"),
        (["--owners", __file__], {}, 1, "demo: test_demo_run.py: line 1: there is no column organisation"),
        ([], {"CLAIMBUS_REDIS_URL": None}, 1, "CLAIMBUS_REDIS_URL: is not set"),
        ([], {"CLAIMBUS_MANAGEMENT_URL": "http://127.0.0.1:1"}, 1, "demo: RabbitMQ's management API"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    arguments: list[str], changes: dict[str, str | None], code: int, said: str
) -> None:
    done = subprocess.run(
        [*DEMO, *arguments],
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
