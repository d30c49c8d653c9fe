"""``claimbus doctor``: each thing that can be wrong is found and says what to do; nothing is changed."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from claimbus.database import endpoints, holds, letters, replays
from claimbus.database.audit import Act
from claimbus.database.engine import Database
from claimbus.database.kept import KeptClaim
from claimbus.events.event import ALL
from claimbus.events.fingerprint import fingerprint
from claimstore.connection import Connection
from claimstore.holds import Holds
from claimstore.quarantined import Quarantined
from tests.broker.conftest import authority, node, private_url
from tests.broker.nodes import Node
from tests.cli.terminal import Terminal
from tests.services import management

__all__ = ["authority", "node", "private_url"]


@pytest.fixture
async def redis(redis_url: str, key_prefix: str) -> AsyncIterator[Connection]:
    async with await Connection.open(redis_url, prefix=key_prefix) as connection:
        yield connection


def found(terminal: Terminal, *, code: int = 0) -> dict[str, tuple[str, str]]:
    """What the doctor finds, by subject."""
    listed = terminal("doctor", "--json", code=code).json
    return {one["subject"]: (one["severity"], one["message"]) for one in listed}


def endpoint(terminal: Terminal, *more: str, name: str = "one") -> str:
    """Add an endpoint that counts as verified; return its ID."""
    url = "https://a.example/"
    words = ("endpoints", "add", "PGAE", "--name", name, "--url", url, "--later", "--json")
    added = str(terminal(*words, *more).json["id"])
    with Database.open(terminal.settings["CLAIMBUS_DATABASE_URL"]) as database, database.transaction() as sql:
        endpoints.mark_verified(sql, added, Act("tests"), url=url)
    return added


@pytest.fixture
def participant(terminal: Terminal) -> None:
    terminal("participants", "add", "PGAE", "--organisation", "Pacific")


@pytest.mark.usefixtures("participant")
def test_where_all_is_well_it_says_so(terminal: Terminal) -> None:
    terminal("market", "close", "dam", "--trade-date", "today")
    seen = found(terminal)
    assert all(severity != "error" for severity, _ in seen.values())
    for subject in ("settings", "RabbitMQ version", "RabbitMQ topology", "RabbitMQ confirms", "database"):
        assert seen[subject][0] == "ok", subject
    for subject in ("Redis maxmemory-policy", "Redis appendonly", "clock", "database schema"):
        assert seen[subject][0] == "ok", subject
    assert "ok      settings: environment test" in terminal("doctor").out


def test_before_the_first_start_it_changes_nothing(terminal: Terminal, amqp_url: str, tmp_path: Path) -> None:
    seen = found(terminal.but(amqp_url=amqp_url))
    assert seen["RabbitMQ topology"][0] == "warning"
    assert seen["database"] == (
        "warning",
        f"{tmp_path}/claimbus.db is not there yet; the first start makes it",
    )
    assert management("GET", f"/queues/{amqp_url.rpartition('/')[2]}") == []
    assert list(tmp_path.iterdir()) == []


def test_a_journal_for_another_claim_life_is_an_error_that_says_what_to_do(terminal: Terminal) -> None:
    terminal("market", "close", "dam", "--trade-date", "today")
    seen = found(terminal.but(claim_life="8d"), code=1)
    severity, message = seen["RabbitMQ journal"]
    assert severity == "error"
    assert "CLAIMBUS_CLAIM_LIFE=604800s" in message
    assert "rabbitmqctl delete_queue" in message
    assert seen["RabbitMQ confirms"][0] == "ok", "the others are looked at"
    refused = terminal.but(claim_life="8d")("market", "close", "dam", "--trade-date", "today", code=1).err
    assert refused == f"claimbus: {message}\n"


def test_servers_that_are_away_are_errors_and_the_rest_is_looked_at(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claimbus.cli.diagnosis.COMMAND_WITHIN", 0.1)
    terminal("participants", "list")
    seen = found(terminal.but(redis_url="redis://127.0.0.1:1", amqp_url="amqp://127.0.0.1:1"), code=1)
    assert seen["Redis"][0] == seen["RabbitMQ"][0] == "error"
    assert "127.0.0.1:1" in seen["RabbitMQ"][1]
    assert seen["database schema"][0] == "ok"


def test_an_alarm_of_rabbitmq_is_an_error(terminal: Terminal, node: Node, private_url: str) -> None:
    private = terminal.but(amqp_url=private_url)
    private("market", "close", "dam", "--trade-date", "today")
    assert found(private)["RabbitMQ confirms"][0] == "ok"
    alarm = "{resource_limit, disk, node()}"
    node.call(f"rabbit_alarm:set_alarm({{{alarm}, []}})")
    try:
        assert found(private, code=1)["RabbitMQ"] == ("error", "RabbitMQ takes no messages: low on disk")
    finally:
        node.call(f"rabbit_alarm:clear_alarm({alarm})")
    assert found(private)["RabbitMQ confirms"][0] == "ok"


def test_a_wrong_setting_is_an_error(terminal: Terminal) -> None:
    seen = found(terminal.but(claim_life="soon"), code=1)
    assert seen["settings"] == (
        "error",
        "CLAIMBUS_CLAIM_LIFE: 'soon' is no duration; write 500ms, 30s, 10m, 6h or 7d",
    )


def test_a_ladder_or_certificate_that_cannot_be_used_is_an_error(terminal: Terminal) -> None:
    assert "5x" in found(terminal.but(retry_ladder="5x"), code=1)["settings"][1]
    seen = found(terminal.but(webhook_ca_file="none.pem"), code=1)
    assert "CLAIMBUS_WEBHOOK_CA_FILE" in seen["settings"][1]


def test_what_opens_the_inside_to_webhooks_is_a_warning(terminal: Terminal) -> None:
    seen = found(terminal.but(webhook_allow_http="true"))
    for name in ("ALLOW_HTTP", "NETWORKS", "PORTS"):
        assert seen[f"CLAIMBUS_WEBHOOK_{name}"][0] == "warning"
    strict = found(terminal.but(webhook_networks="", webhook_ports="443,8443"))
    assert not [subject for subject in strict if subject.startswith("CLAIMBUS_WEBHOOK")]


@pytest.mark.usefixtures("participant")
def test_endpoints_to_which_nothing_can_be_sent_are_found(terminal: Terminal) -> None:
    words = ("PGAE", "--name", "one", "--url", "https://a.example:9443/", "--later", "--json")
    name = terminal("endpoints", "add", *words).json["id"]
    severity, message = found(terminal)[f"endpoint {name}"]
    assert severity == "warning"
    assert f"'claimbus endpoints verify {name}'" in message
    assert found(terminal)["endpoints"][1] == "1, of which 1 pending, 0 paused, 0 disabled"
    severity, message = found(terminal.but(webhook_ports="443"), code=1)[f"endpoint {name}"]
    assert (severity, "its port 9443" in message) == ("error", True)


@pytest.mark.usefixtures("participant")
def test_an_age_limit_that_outlives_the_claims_is_an_error(terminal: Terminal, sqlite_url: str) -> None:
    name = endpoint(terminal)
    with Database.open(sqlite_url) as database, database.transaction() as sql:
        endpoints.change(sql, name, Act("tests"), age_limit_s=8 * 86_400)
    severity, message = found(terminal, code=1)[f"endpoint {name}"]
    assert severity == "error"
    assert "age limit of 8d is not below a claim's life of 7d" in message


@pytest.mark.usefixtures("participant")
async def test_endpoints_that_are_held_in_quarantine_or_idle_are_found(
    terminal: Terminal, redis: Connection
) -> None:
    held, hanging = endpoint(terminal, name="held"), endpoint(terminal, name="hanging")
    for _ in range(5):
        await Holds(redis).failed(held)
    await Quarantined(redis).put(hanging, 1)
    seen = found(terminal, code=1)
    assert seen[f"endpoint {held}"][0] == "warning"
    assert "after 5 failures in a row" in seen[f"endpoint {held}"][1]
    assert seen[f"endpoint {hanging}"][0] == "error"
    assert "claimbus work" in seen["workers"][1]
    (now,) = terminal("holds", "list", "--now", "--json").json
    assert (now["endpoint_id"], now["failures"]) == (held, 5)
    assert held in terminal("holds", "list", "--now").out


@pytest.mark.usefixtures("participant")
async def test_a_change_of_an_endpoint_in_quarantine_does_not_bind_it(
    terminal: Terminal, redis: Connection
) -> None:
    name = endpoint(terminal, "--subscribe", "market.#")
    before = terminal.bindings(name)
    await Quarantined(redis).put(name, 1)
    terminal("endpoints", "subscribe", name, "oms.#")
    assert terminal.bindings(name) == before


@pytest.mark.usefixtures("participant")
def test_parked_events_and_letters_are_found(terminal: Terminal, amqp_url: str) -> None:
    sample = terminal.directory / "feed.csv"
    sample.write_text(
        "OUTAGE MRID,RESOURCE NAME,RESOURCE ID,OUTAGE TYPE,NATURE OF WORK,CURTAILMENT START DATE TIME,"
        "CURTAILMENT END DATE TIME,CURTAILMENT MW,RESOURCE PMAX MW,NET QUALIFYING CAPACITY MW\n"
        "1,A PLANT,NOBODYS,FORCED,TROUBLE,2026-03-05 00:00,2026-03-06 00:00,10,150,100\n"
    )
    elsewhere = terminal.but(amqp_url=amqp_url)
    elsewhere("oms", "watch", sample)
    name = endpoint(terminal)  # its queue is not in the other vhost
    elsewhere("endpoints", "test", name)
    seen = found(elsewhere)
    assert seen["parked events"][1].startswith("1, since nobody owns")
    assert seen["recorder"][0] == "warning"
    assert seen["recorder"][1].startswith("1 dead letters are not in the database yet, and nobody records")
    assert seen["missing queues"][1].startswith(f"{name} not there yet")


def test_letters_their_bodies_and_jobs_that_nobody_runs_are_found(
    terminal: Terminal, sqlite_url: str
) -> None:
    terminal("participants", "list")
    seen = found(terminal)
    assert seen["dead letters"] == ("ok", "0 wait for an operator")
    assert seen["dead letter bodies"][0] == "ok"
    with Database.open(sqlite_url) as database, database.transaction() as sql:
        died = datetime.now(UTC) - timedelta(minutes=1)
        group = fingerprint("rejected", 422, "")
        one = letters.DeadLetter(
            id="dl_0",
            state_at=died,
            died_at=died,
            cause="rejected",
            fingerprint=group.id,
            detail="",
            attempts=3,
        )
        dead = [one, replace(one, id="dl_1"), replace(one, id="dl_2")]
        body = KeptClaim("claim", ALL, 2**20, 2**20, 0, died, b"")
        letters.record(sql, dead, [group], [body])
        job = replays.create(sql, ["dl_0"], Act("tests", at=died), selection={}, rate=None, canary=True)
    seen = found(terminal)
    assert seen["dead letters"] == ("warning", "2 wait for an operator; see 'claimbus deadletters groups'")
    assert seen["dead letter bodies"] == (
        "ok",
        "1.0 MiB of 10.0 GiB; as many a day as the last one make 30.0 MiB in 30d",
    )
    assert "nobody runs it" in seen[f"replay {job.id}"][1]
    assert found(terminal.but(letters_budget="20000000"))["dead letter bodies"][0] == "warning"
    full = found(terminal.but(letters_budget="1024"), code=1)["dead letter bodies"]
    assert full[0] == "error"
    assert "CLAIMBUS_LETTERS_BUDGET" in full[1]


def test_the_history_of_holds_and_changes_is_listed(terminal: Terminal, sqlite_url: str) -> None:
    terminal("participants", "add", "PGAE", "--organisation", "Pacific", "--actor", "jane")
    with Database.open(sqlite_url) as database, database.transaction() as sql:
        act = Act("tests")
        one, other = (endpoints.add(sql, "PGAE", act, kind="stream", name=name).id for name in ("a", "b"))
        for what in ("held", "released"):
            holds.record(sql, holds.HoldEvent(one, what, act.at, "connection refused"))
        holds.record(sql, holds.HoldEvent(other, "held", act.at - timedelta(hours=3), "HTTP 503"))
    listed = terminal("holds", "list", "--since", "1h", "--json").json
    assert [(row["endpoint_id"], row["what"]) for row in listed] == [(one, "released"), (one, "held")]
    assert [row["reason"] for row in terminal("holds", "list", "--endpoint", other, "--json").json] == [
        "HTTP 503"
    ]
    assert "connection refused" in terminal("holds", "list").out
    assert {one["actor"] for one in terminal("audit", "list", "--actor", "jane", "--json").json} == {"jane"}
    assert terminal("audit", "list", "--actor", "john", "--json").json == []
    assert len(terminal("audit", "list", "--limit", "1", "--json").json) == 1
