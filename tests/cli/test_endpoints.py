"""``claimbus endpoints``: each change is in the database, in RabbitMQ and told to the workers at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from claimbus.broker.codec import Announcement
from claimbus.broker.connection import Connection
from claimbus.broker.control import listen
from claimbus.cli.demo.receivers import Behaviour, Receiver, Receivers
from claimbus.database import Act, Database, endpoints
from tests.cli.terminal import Terminal
from tests.waiting import eventually

OF_PGAE = {("market", "market.#.PGAE"), ("market", "market.#.all")}


@pytest.fixture(autouse=True)
def participant(terminal: Terminal) -> None:
    terminal("participants", "add", "PGAE", "--organisation", "Pacific")


@pytest.fixture
async def receivers(tmp_path: Path) -> AsyncIterator[Receivers]:
    async with Receivers.open(tmp_path) as receivers:
        yield receivers


def add(
    terminal: Terminal,
    *more: object,
    name: str = "one",
    url: str = "https://a.example/in",
    when: str | None = "--later",
) -> Any:  # noqa: ANN401
    """Add an endpoint that is subscribed to market events; return its JSON."""
    words = ["PGAE", "--name", name, "--url", url, "--subscribe", "market.#", *more]
    return terminal("endpoints", "add", *words, *([when] if when else []), "--json").json


async def added_to(receiver: Receiver, terminal: Terminal, when: str | None = "--later") -> Any:  # noqa: ANN401
    """Add an endpoint with a receiver behind it."""
    trusted = terminal.directory / f"{receiver.name}.pem"
    await asyncio.to_thread(trusted.write_bytes, receiver.ca_pem)
    words = ("--ca-file", trusted, "--timeout", "1s")
    added = await asyncio.to_thread(add, terminal, *words, name=receiver.name, url=receiver.url, when=when)
    receiver.secrets = (added["secret"],)
    return added


def activate(terminal: Terminal, endpoint: Any) -> None:  # noqa: ANN401
    """Have an endpoint count as verified, though nobody was asked."""
    with Database.open(terminal.settings["CLAIMBUS_DATABASE_URL"]) as database, database.transaction() as sql:
        endpoints.mark_verified(sql, endpoint["id"], Act("tests"), url=endpoint["url"])


def test_an_added_endpoint_has_its_queue_and_bindings_at_once(terminal: Terminal) -> None:
    added = add(terminal, "--concurrency", "4", "--timeout", "2s", "--rate-limit", "10")
    assert terminal.bindings(added["id"]) == {*OF_PGAE, ("redeliver", added["id"])}
    assert (added["concurrency"], added["timeout_s"], added["rate_limit"]) == (4, 2.0, 10.0)
    assert added["age_limit_s"] == 7200, "the setting's"


def test_a_secret_is_shown_when_it_is_made_and_never_again(terminal: Terminal) -> None:
    added = add(terminal)
    assert added["secret"].startswith("whsec_")
    rotated = terminal("endpoints", "rotate-secret", added["id"], "--json").json
    assert rotated["secret"] != added["secret"]
    assert len(rotated["secrets_since"]) == 2
    for words in (("endpoints", "list"), ("endpoints", "show", added["id"]), ("audit", "list")):
        for more in ((), ("--json",)):
            answer = terminal(*words, *more)
            assert "whsec_" not in answer.out + answer.err
    text = terminal("endpoints", "add", "PGAE", "--name", "two", "--url", "https://b.example/", "--later").out
    assert "whsec_" in text


def test_subscriptions_are_bound_and_unbound_at_once(terminal: Terminal) -> None:
    added = add(terminal)
    terminal("endpoints", "subscribe", added["id"], "oms.#", "system.notice.published")
    assert terminal.bindings(added["id"]) >= {("oms", "oms.#.PGAE"), *OF_PGAE}
    terminal("endpoints", "unsubscribe", added["id"], "market.#", "oms.#")
    assert terminal.bindings(added["id"]) == {
        ("redeliver", added["id"]),
        ("system", "system.notice.published.PGAE"),
        ("system", "system.notice.published.all"),
    }
    shown = terminal("endpoints", "show", added["id"], "--json").json
    assert shown["subscriptions"] == ["system.notice.published"]
    assert len(shown["bindings"]) == 2


def test_an_ordered_endpoint_gets_another_queue(terminal: Terminal) -> None:
    added = add(terminal)
    terminal("endpoints", "change", added["id"], "--ordered")
    assert terminal.bindings(added["id"], generation=2) >= OF_PGAE
    assert terminal.bindings(added["id"], generation=1) == set()


def test_settings_are_changed_and_reset(terminal: Terminal) -> None:
    added = add(terminal, "--rate-limit", "10", "--latest-only")
    changed = terminal(
        "endpoints",
        "change",
        added["id"],
        "--name",
        "first",
        "--no-latest-only",
        "--without",
        "rate-limit",
        "--json",
    ).json
    assert (changed["name"], changed["latest_only"], changed["rate_limit"]) == ("first", False, None)


def test_an_endpoint_is_paused_resumed_disabled_enabled_and_removed(terminal: Terminal) -> None:
    added = add(terminal)
    activate(terminal, added)
    states = []
    for words in (("pause",), ("resume",), ("disable", "--reason", "floods us"), ("enable",), ("remove",)):
        terminal("endpoints", words[0], added["id"], *words[1:])
        states.append(terminal("endpoints", "show", added["id"], "--json").json["state"])
    assert states == ["paused", "active", "disabled", "active", "active"]
    assert terminal("endpoints", "list", "--json").json == []
    (removed,) = terminal("endpoints", "list", "--removed", "--json").json
    assert removed["removed_at"] is not None
    assert terminal.bindings(added["id"]) == set(), "nothing more comes in; workers take the queue away"
    entries = terminal("audit", "list", "--object", added["id"], "--json").json
    assert [one["action"] for one in reversed(entries)] == [
        "added",
        "verified",
        "active to paused",
        "paused to active",
        "active to disabled",
        "disabled to active",
        "removed",
    ]


async def test_every_change_is_told_to_the_workers(terminal: Terminal) -> None:
    heard: list[Announcement] = []
    connection = await Connection.open(terminal.settings["CLAIMBUS_AMQP_URL"], name="tests")
    terminal("market", "close", "dam", "--trade-date", "today")  # declares the topology
    control = await listen(connection, heard.append)
    added = add(terminal)
    activate(terminal, added)
    for words in (("pause",), ("resume",), ("subscribe", "oms.#"), ("rotate-secret",), ("remove",)):
        terminal("endpoints", words[0], added["id"], *words[1:])
    await eventually(lambda: len(heard) >= 6)
    assert set(heard) == {Announcement(added["id"], "changed")}
    await control.stop()
    await connection.aclose()


def test_without_rabbitmq_the_endpoint_is_kept_and_workers_will_bind_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claimbus.cli.provisioning.COMMAND_WITHIN", 0.1)
    words = ("endpoints", "add", "PGAE", "--name", "one", "--url", "https://a.example/", "--later", "--json")
    answer = terminal.but(amqp_url="amqp://127.0.0.1:1")(*words)
    assert "the workers will see to" in answer.err.splitlines()[0]
    assert answer.err.count("\n") == 3
    assert [one["id"] for one in terminal("endpoints", "list", "--json").json] == [answer.json["id"]]


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("--url", "http://a.example/"), "--url"),
        (("--url", "https://jane:secret@a.example/"), "--url"),
        (("--url", "https://a.example/", "--age-limit", "7d"), "--age-limit"),
        (("--url", "https://a.example/", "--concurrency", "0"), "--concurrency"),
        (("--url", "https://a.example/", "--subscribe", "oms.all"), "--subscribe"),
        (("--url", "https://a.example/", "--ca-file", "none.pem"), "--ca-file"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name(
    terminal: Terminal, words: tuple[str, ...], field: str
) -> None:
    answer = terminal("endpoints", "add", "PGAE", "--name", "one", *words, code=1)
    assert answer.err.startswith(f"claimbus: {field}: ")
    assert terminal("endpoints", "list", "--json").json == []


async def test_an_endpoint_is_verified_when_it_is_added(terminal: Terminal, receivers: Receivers) -> None:
    receiver = await receivers.add("first")
    added = await added_to(receiver, terminal, when=None)
    assert added["state"] == "active"
    assert added["verified_at"] is not None
    verification = added["verification"]
    assert (verification["verified"], verification["way"], verification["status"]) == (True, "handshake", 200)
    (asked,) = receiver.asked
    assert asked.header("webhook-request-origin") == "test.claimbus"
    assert receiver.received == []


async def test_an_endpoint_that_is_not_verified_is_kept_pending_and_says_what_to_do(
    terminal: Terminal, receivers: Receivers
) -> None:
    receiver = await receivers.add("first")
    receiver.permission = Behaviour(kind="status", status=405)
    await asyncio.to_thread((terminal.directory / "ca.pem").write_bytes, receiver.ca_pem)
    words = ("PGAE", "--url", receiver.url, "--ca-file", "ca.pem")
    other = (await terminal.beside("endpoints", "add", *words, "--name", "two", "--later", "--json")).json
    assert (other["state"], other["next"]) == ("pending", f"claimbus endpoints verify {other['id']}")
    terminal("endpoints", "remove", other["id"][:10])
    answer = await terminal.beside("endpoints", "add", *words, "--name", "one")
    assert "whsec_" in answer.out, "it is shown this once, verified or not"
    assert "is pending, nothing is sent there yet: it does not accept us" in answer.err
    (listed,) = terminal("endpoints", "list", "--state", "pending", "--json").json
    assert f"has the secret, type: claimbus endpoints verify {listed['id']}" in answer.err
    assert terminal.bindings(listed["id"]), "its queue collects"
    assert "verify it first" in terminal("endpoints", "test", listed["id"], code=1).err

    (secret,) = [word for word in answer.out.split() if word.startswith("whsec_")]
    receiver.secrets = (secret,)
    verified = (await terminal.beside("endpoints", "verify", listed["id"], "--json")).json
    assert (verified["verified"], verified["way"], verified["status"]) == (True, "challenge", 204)
    assert verified["meaning"] == "it takes events"
    request = receiver.received[-1]
    assert request.verified
    assert request.event["type"] == "system.endpoint.test"
    assert terminal("endpoints", "show", listed["id"], "--json").json["state"] == "active"


async def test_another_url_is_verified_anew(terminal: Terminal, receivers: Receivers) -> None:
    first, second = await receivers.add("first"), await receivers.add("second")
    added = await added_to(first, terminal, when=None)
    second.permission = Behaviour(kind="status", status=200, headers={"webhook-allowed-origin": "other.test"})
    words = ("endpoints", "change", added["id"], "--url", second.url, "--json")
    refused = await terminal.beside(*words)
    assert (refused.json["state"], refused.json["verified_at"]) == ("pending", None)
    assert "takes events from 'other.test', and we are 'test.claimbus'" in refused.err
    assert second.received == [], "whoever names others is not asked a second time"
    second.permission = Behaviour(
        kind="status",
        status=204,
        headers={"webhook-allowed-origin": "test.claimbus", "webhook-allowed-rate": "120"},
    )
    changed = (await terminal.beside(*words)).json
    assert (changed["state"], changed["allowed_rate"], changed["rate_limit"]) == ("active", 2.0, None)
    back = (
        await terminal.beside("endpoints", "change", added["id"], "--url", first.url, "--later", "--json")
    ).json
    assert (back["state"], back["allowed_rate"], back["verification"]) == ("pending", None, None)


def test_a_stream_needs_no_url_and_no_verification(terminal: Terminal) -> None:
    words = ("PGAE", "--name", "one", "--stream", "--subscribe", "market.#", "--json")
    added = terminal("endpoints", "add", *words).json
    assert (added["kind"], added["state"]) == ("stream", "active")
    assert "secret" not in added
    assert terminal.bindings(added["id"]) >= OF_PGAE


@pytest.mark.parametrize(
    "url",
    [
        "https://10.1.2.3/",
        "https://[::ffff:169.254.169.254]/",
        "https://0xa9fea9fe/latest/meta-data/",
        "https://localhost:8443/",
        "https://8.8.8.8:22/",
    ],
)
def test_a_forbidden_address_or_port_is_refused_before_anything_is_kept(terminal: Terminal, url: str) -> None:
    strict = terminal.but(webhook_networks="", webhook_ports="443,8443")
    answer = strict("endpoints", "add", "PGAE", "--name", "one", "--url", url, "--later", code=1)
    assert answer.err.startswith("claimbus: --url: leads to ")
    assert terminal("endpoints", "list", "--json").json == []
    added = add(terminal)
    strict("endpoints", "change", added["id"], "--url", url, "--later", code=1)
    assert terminal("endpoints", "show", added["id"], "--json").json["url"] == added["url"]


@pytest.mark.parametrize(
    ("behaviour", "failure", "meaning"),
    [
        (Behaviour(kind="status", status=401), None, "does not accept us"),
        (Behaviour(kind="status", status=404), None, "no webhook at this path"),
        (
            Behaviour(kind="status", status=302, headers={"location": "https://b"}),
            None,
            "redirects are never",
        ),
        (Behaviour(kind="status", status=503), None, "cannot take events at the moment"),
        (Behaviour(kind="status", status=410), None, "it is gone"),
        (Behaviour(kind="status", status=422), None, "refuses the event"),
        (Behaviour(kind="down"), "connect", "nobody accepts the connection"),
        (Behaviour(kind="hang"), "timeout", "did not answer in time"),
        (Behaviour(kind="reset"), "reset", "broke the connection off"),
    ],
)
async def test_verify_says_in_plain_words_what_went_wrong(
    terminal: Terminal, receivers: Receivers, behaviour: Behaviour, failure: str | None, meaning: str
) -> None:
    receiver = await receivers.add("first", behaviour)
    receiver.permission = Behaviour(kind="status", status=501)
    added = await added_to(receiver, terminal)
    answer = (await terminal.beside("endpoints", "verify", added["id"], "--json", code=1)).json
    assert (answer["verified"], answer["failure"]) == (False, failure)
    assert meaning in answer["meaning"]
    assert terminal("endpoints", "show", added["id"], "--json").json["verified_at"] is None


def test_verify_says_when_an_address_is_refused_or_unknown(terminal: Terminal) -> None:
    added = add(terminal, url="https://127.0.0.1/")
    strict = terminal.but(webhook_networks="")
    answer = strict("endpoints", "verify", added["id"], "--json", code=1).json
    assert answer["failure"] == "refused-address"
    added = add(terminal, name="two", url="https://no-such-host.invalid/")
    assert terminal("endpoints", "verify", added["id"], "--json", code=1).json["failure"] == "dns"


async def test_verify_says_when_a_certificate_is_not_trusted(
    terminal: Terminal, receivers: Receivers
) -> None:
    receiver = await receivers.add("first")
    added = add(terminal, url=receiver.url)
    answer = (await terminal.beside("endpoints", "verify", added["id"], "--json", code=1)).json
    assert answer["failure"] == "tls"
    assert "certificate" in answer["meaning"]


def test_a_test_event_that_no_worker_takes_says_so(terminal: Terminal) -> None:
    added = add(terminal)
    activate(terminal, added)
    answer = terminal("endpoints", "test", added["id"], "--wait", "--within", "0.3s", "--json", code=1)
    assert "is 'claimbus work' running?" in answer.err
    assert answer.json["message_id"].startswith("evt_")
    terminal("endpoints", "pause", added["id"])
    assert "is paused: nothing" in terminal("endpoints", "test", added["id"], code=1).err


async def test_a_worker_delivers_a_test_event_to_that_endpoint_only(
    terminal: Terminal, receivers: Receivers
) -> None:
    first, second = await receivers.add("first"), await receivers.add("second")
    endpoint = await added_to(first, terminal, when=None)
    await added_to(second, terminal, when=None)
    with terminal.but(log_format="json").started("work", "--processes", "2") as working:
        tested = await terminal.beside("endpoints", "test", endpoint["id"], "--wait", "--json")
        assert (tested.json["verdict"], tested.json["status"]) == ("delivered", 204)
        await first.behave(Behaviour(kind="status", status=422))
        refused = await terminal.beside("endpoints", "test", endpoint["id"], "--wait", "--json", code=1)
        assert refused.json["verdict"] == "rejected"
        working.terminate()
        _, err = await asyncio.to_thread(working.communicate, timeout=30)
    assert working.returncode == 0, err
    assert {request.event["type"] for request in first.received} == {"system.endpoint.test"}
    assert second.received == []

    attempts = terminal("attempts", "list", "--endpoint", endpoint["id"], "--json").json
    assert {one["verdict"] for one in attempts} == {"delivered", "rejected"}
    (delivered,) = terminal("attempts", "list", "--message", tested.json["message_id"], "--json").json
    assert delivered["type"] == "system.endpoint.test"
    assert terminal("attempts", "list", "--verdict", "rejected", "--since", "5m", "--json").json
    assert "superseded" in terminal("attempts", "list", "--verdict", "lost", code=2).err
    assert "parked event" in terminal("audit", "list", "--kind", "lost", code=2).err
    assert "NOBODY" in terminal("endpoints", "list", "--participant", "NOBODY", code=1).err
    assert "is in the future" in terminal("attempts", "list", "--since", "in 5m", code=2).err
    shown = terminal("attempts", "list", "--endpoint", endpoint["id"][:12]).out
    assert "system.endpoint.test" in shown
    assert " replay " in shown.splitlines()[1]
    logged = [json.loads(line) for line in err.splitlines() if "attempt" in line]
    assert all("whsec_" not in str(line) for line in logged)
