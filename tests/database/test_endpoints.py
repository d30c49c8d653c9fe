import asyncio
import base64
import re
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Literal, get_args

import pytest
import trustme
from sqlalchemy import Connection, text

from claimbus.database import (
    Act,
    Database,
    DuplicateError,
    NotFoundError,
    audit,
    endpoints,
    participants,
)
from claimbus.database.endpoint import Endpoint, State
from claimbus.events.errors import InvalidInputError
from tests.waiting import eventually

URL = "https://receiver.example/claimbus"
DAY = timedelta(days=1)


@pytest.fixture
def database(database: Database, act: Act) -> Database:
    """A database with two participants of two organisations."""
    with database.transaction() as connection:
        participants.add(connection, "PGAE", "Pacific Gas", act)
        participants.add(connection, "SCE1", "Edison", act)
    return database


@pytest.fixture
def endpoint(database: Database, act: Act) -> Endpoint:
    """A webhook of PGAE's that is subscribed to all OMS events."""
    with database.transaction() as connection:
        return endpoints.add(
            connection, "PGAE", act, name="main", url=URL, subscriptions=["oms.#"], verified=True
        )


def test_an_endpoint_has_a_secret_and_its_defaults(endpoint: Endpoint) -> None:
    assert re.fullmatch(r"ep_[a-z0-9]{20}", endpoint.id)
    assert (endpoint.participant_id, endpoint.organisation_id) == ("PGAE", "Pacific Gas")
    assert (endpoint.kind, endpoint.mode, endpoint.state) == ("webhook", "body", "active")
    assert (endpoint.generation, endpoint.revision) == (1, 1)
    assert (endpoint.age_limit_s, endpoint.rate_limit) == (72 * 3600, None)
    assert endpoint.subscriptions == ("oms.#",)


def test_secrets_have_the_form_of_standard_webhooks(endpoint: Endpoint) -> None:
    (secret,) = endpoint.secrets
    prefix, _, encoded = secret.value.partition("_")
    assert prefix == "whsec"
    assert 24 <= len(base64.b64decode(encoded, validate=True)) <= 64


def test_secrets_are_in_no_repr_and_no_audit(database: Database, endpoint: Endpoint, act: Act) -> None:
    with database.transaction() as connection:
        rotated = endpoints.rotate_secret(connection, endpoint.id, act)
        endpoints.remove(connection, endpoint.id, act)
        told = repr(audit.find(connection).rows)
    assert "secret rotated" in told
    for secret in rotated.secrets:
        assert secret.value not in told
    assert "whsec_" not in told + repr(rotated) + str(rotated)


def test_endpoints_are_found_by_participant_organisation_and_state(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        main = endpoints.add(
            connection, "PGAE", act, name="main", url=URL, subscriptions=["oms.#", "market.#"]
        )
        spare = endpoints.add(connection, "PGAE", act, kind="stream", name="spare")
        other = endpoints.add(connection, "SCE1", act, name="main", url=URL, subscriptions=["market.#"])
        spare = endpoints.pause(connection, spare.id, act)

        def found(**filters: str) -> set[Endpoint]:
            return set(endpoints.find(connection, **filters))  # type: ignore[arg-type]

        assert found() == {main, spare, other}
        assert found(participant_id="PGAE") == {main, spare}
        assert found(organisation_id="Edison") == {other}
        assert found(state="paused") == {spare}
        assert found(state="pending") == {main, other}
        assert found(state="active") == set()
        assert endpoints.revisions(connection) == {main.id: 1, spare.id: 2, other.id: 1}


def test_every_change_raises_the_revision_and_is_audited(
    database: Database, endpoint: Endpoint, act: Act
) -> None:
    with database.transaction() as connection:
        endpoints.change(connection, endpoint.id, act, concurrency=2)
        endpoints.subscribe(connection, endpoint.id, ["market.dam.closed"], act)
        endpoints.unsubscribe(connection, endpoint.id, ["oms.#"], act)
        endpoints.pause(connection, endpoint.id, act)
        endpoints.resume(connection, endpoint.id, act)
        endpoints.disable(connection, endpoint.id, Act("worker", "410 Gone"))
        endpoints.enable(connection, endpoint.id, act)
        endpoints.mark_verified(connection, endpoint.id, act, url=URL)
        endpoints.rotate_secret(connection, endpoint.id, act)
        last = endpoints.remove(connection, endpoint.id, act)
        entries = audit.find(connection, object_id=endpoint.id).rows
    assert last.revision == 11
    assert [entry.action for entry in reversed(entries)] == [
        "added",
        "changed",
        "subscribed",
        "unsubscribed",
        "active to paused",
        "paused to active",
        "active to disabled",
        "disabled to active",
        "verified",
        "secret rotated",
        "removed",
    ]
    changed = entries[-2]
    assert (changed.before, changed.after) == ({"concurrency": 8}, {"concurrency": 2})
    assert {entry.organisation_id for entry in entries} == {"Pacific Gas"}


def test_what_changes_nothing_is_no_change(database: Database, endpoint: Endpoint, act: Act) -> None:
    with database.transaction() as connection:
        endpoints.change(connection, endpoint.id, act, name="main", url=URL)
        endpoints.subscribe(connection, endpoint.id, ["oms.#"], act)
        endpoints.resume(connection, endpoint.id, act)
        assert endpoints.get(connection, endpoint.id) == endpoint


def test_only_another_order_needs_another_queue(database: Database, endpoint: Endpoint, act: Act) -> None:
    with database.transaction() as connection:
        assert endpoints.change(connection, endpoint.id, act, concurrency=1).generation == 1
        assert endpoints.change(connection, endpoint.id, act, ordered=True).generation == 2
        assert endpoints.change(connection, endpoint.id, act, ordered=True).generation == 2
        assert endpoints.change(connection, endpoint.id, act, ordered=False).generation == 3


Step = Literal["verify", "change", "pause", "resume", "disable", "enable"]

STATES: dict[tuple[State, bool], dict[Step, tuple[State, bool]]] = {
    ("pending", False): {
        "verify": ("active", True),
        "change": ("pending", False),
        "disable": ("disabled", False),
    },
    ("active", True): {
        "verify": ("active", True),
        "change": ("pending", False),
        "pause": ("paused", True),
        "resume": ("active", True),
        "disable": ("disabled", True),
        "enable": ("active", True),
    },
    ("paused", True): {
        "verify": ("paused", True),
        "change": ("paused", False),
        "pause": ("paused", True),
        "resume": ("active", True),
        "disable": ("disabled", True),
    },
    ("paused", False): {
        "verify": ("paused", True),
        "change": ("paused", False),
        "pause": ("paused", False),
        "resume": ("pending", False),
        "disable": ("disabled", False),
    },
    ("disabled", True): {
        "verify": ("disabled", True),
        "change": ("disabled", False),
        "disable": ("disabled", True),
        "enable": ("active", True),
    },
    ("disabled", False): {
        "verify": ("disabled", True),
        "change": ("disabled", False),
        "disable": ("disabled", False),
        "enable": ("pending", False),
    },
}
"""A webhook's state and whether it is verified: before each step, and after. What is not here is refused."""

WAYS: dict[tuple[State, bool], tuple[Step, ...]] = {
    ("pending", False): (),
    ("active", True): ("verify",),
    ("paused", True): ("verify", "pause"),
    ("paused", False): ("verify", "pause", "change"),
    ("disabled", True): ("verify", "disable"),
    ("disabled", False): ("disable",),
}
"""How a webhook that was just added gets there."""


def step(connection: Connection, endpoint: Endpoint, what: Step, act: Act) -> Endpoint:
    match what:
        case "verify":
            return endpoints.mark_verified(connection, endpoint.id, act, url=endpoint.url)
        case "change":
            return endpoints.change(connection, endpoint.id, act, url=f"{URL}/{endpoint.revision}")
        case "disable":
            return endpoints.disable(connection, endpoint.id, Act("jane", "floods us"))
        case _:
            found: Endpoint = getattr(endpoints, what)(connection, endpoint.id, act)
            return found


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("what", get_args(Step))
def test_each_step_leads_where_the_table_says(
    shared_sqlite: Database, act: Act, before: tuple[State, bool], what: Step
) -> None:
    with shared_sqlite.transaction() as connection:
        participants.add(connection, "PGAE", "Pacific Gas", act)
        endpoint = endpoints.add(connection, "PGAE", act, name="main", url=URL)
        for one in WAYS[before]:
            endpoint = step(connection, endpoint, one, act)
        assert (endpoint.state, endpoint.verified_at is not None) == before
        if what in STATES[before]:
            endpoint = step(connection, endpoint, what, act)
            assert (endpoint.state, endpoint.verified_at is not None) == STATES[before][what]
            assert endpoints.find(connection, state=endpoint.state) == (endpoint,)
        else:
            with pytest.raises(InvalidInputError, match=f"state: is {before[0]}, not"):
                step(connection, endpoint, what, act)
        assert endpoints.remove(connection, endpoint.id, act).removed_at is not None
        connection.rollback()


def test_a_step_is_told_by_the_states_that_it_leads_between(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        endpoint = endpoints.add(connection, "PGAE", act, name="main", url=URL)
        for what in ("disable", "enable", "verify"):
            step(connection, endpoint, what, act)
        entries = audit.find(connection, object_id=endpoint.id).rows
    assert [one.action for one in entries] == [
        "verified",
        "disabled to pending",
        "pending to disabled",
        "added",
    ]
    assert (entries[0].before or {})["state"] == "pending"
    assert (entries[0].after or {})["state"] == "active"


def test_a_webhook_awaits_its_verification_and_a_stream_needs_none(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        webhook = endpoints.add(connection, "PGAE", act, name="webhook", url=URL)
        stream = endpoints.add(connection, "PGAE", act, name="stream", kind="stream")
        assert (webhook.state, stream.state) == ("pending", "active")
        endpoints.pause(connection, stream.id, act)
        assert endpoints.resume(connection, stream.id, act).state == "active"
        with pytest.raises(InvalidInputError, match="url"):
            endpoints.mark_verified(connection, stream.id, act, url=None)


def test_what_was_verified_is_not_the_url_that_it_is_changed_to_meanwhile(
    database: Database, endpoint: Endpoint, act: Act
) -> None:
    with database.transaction() as connection:
        endpoints.change(connection, endpoint.id, act, url=f"{URL}/2")
        with pytest.raises(InvalidInputError, match="not the one that was verified"):
            endpoints.mark_verified(connection, endpoint.id, act, url=URL)
        assert endpoints.get(connection, endpoint.id).state == "pending"
        assert endpoints.change(connection, endpoint.id, act, name="other").state == "pending"


def test_a_receiver_s_rate_bounds_the_chosen_one_and_ends_with_its_url(
    database: Database, endpoint: Endpoint, act: Act
) -> None:
    with database.transaction() as connection:
        assert endpoint.pace is None
        endpoint = endpoints.mark_verified(connection, endpoint.id, act, url=URL, allowed_rate=5.0)
        assert (endpoint.rate_limit, endpoint.pace) == (None, 5.0)
        assert endpoints.change(connection, endpoint.id, act, rate_limit=50.0).pace == 5.0
        assert endpoints.change(connection, endpoint.id, act, rate_limit=2.0).pace == 2.0
        moved = endpoints.change(connection, endpoint.id, act, url=f"{URL}/2", rate_limit=50.0)
        assert (moved.allowed_rate, moved.pace) == (None, 50.0)


def test_a_paused_or_disabled_endpoint_says_why(database: Database, endpoint: Endpoint) -> None:
    with database.transaction() as connection:
        disabled = endpoints.disable(connection, endpoint.id, Act("worker", "410 Gone"))
    assert (disabled.state, disabled.state_reason) == ("disabled", "410 Gone")


def test_who_disables_must_say_why(database: Database, endpoint: Endpoint) -> None:
    with database.transaction() as connection:  # noqa: SIM117
        with pytest.raises(InvalidInputError, match="reason: must be given"):
            endpoints.disable(connection, endpoint.id, Act("jane"))


def test_a_rotated_secret_signs_until_its_overlap_ends(
    database: Database, endpoint: Endpoint, act: Act
) -> None:
    with database.transaction() as connection:
        rotated = endpoints.rotate_secret(connection, endpoint.id, act, overlap=DAY)
    old, new = endpoint.secrets[0].value, rotated.secrets[0].value
    assert rotated.signing_secrets(act.at + DAY - timedelta(seconds=1)) == (new, old)
    assert rotated.signing_secrets(act.at + DAY) == (new,)


def test_a_second_rotation_prolongs_no_secret_and_forgets_what_has_expired(
    database: Database, endpoint: Endpoint, act: Act
) -> None:
    with database.transaction() as connection:
        second = endpoints.rotate_secret(connection, endpoint.id, act, overlap=DAY)
        soon = Act("jane", at=act.at + DAY / 2)
        third = endpoints.rotate_secret(connection, endpoint.id, soon, overlap=DAY)
        assert [one.expires_at for one in third.secrets][1:] == [
            soon.at.replace(microsecond=soon.at.microsecond // 1000 * 1000) + DAY,
            second.secrets[1].expires_at,
        ]
        leaked = endpoints.rotate_secret(connection, endpoint.id, soon, overlap=timedelta(0))
        assert leaked.signing_secrets(soon.at) == (leaked.secrets[0].value,)
        later = endpoints.rotate_secret(connection, endpoint.id, Act("jane", at=act.at + 9 * DAY))
        assert len(later.secrets) == 2


def test_a_removed_endpoint_is_out_of_sight_but_not_forgotten(
    database: Database, endpoint: Endpoint, act: Act
) -> None:
    with database.transaction() as connection:
        removed = endpoints.remove(connection, endpoint.id, act)
        assert endpoints.find(connection) == ()
        assert endpoints.revisions(connection) == {}
        assert endpoints.find(connection, removed=True) == (removed,)
        assert endpoints.get(connection, endpoint.id) == removed
        assert removed.secrets == ()
        with pytest.raises(NotFoundError, match="or it was removed"):
            endpoints.pause(connection, endpoint.id, act)
        endpoints.add(connection, "PGAE", act, name="main", url=URL)  # its name is free again


def test_a_name_is_a_participant_s_once(database: Database, endpoint: Endpoint, act: Act) -> None:
    with database.transaction() as connection:
        spare = endpoints.add(connection, "PGAE", act, name="spare", url=URL)
        endpoints.add(connection, "SCE1", act, name="main", url=URL)
        with pytest.raises(DuplicateError, match="name: PGAE has an endpoint 'main' already"):
            endpoints.add(connection, "PGAE", act, name="main", url=URL)
        with pytest.raises(DuplicateError):
            endpoints.change(connection, spare.id, act, name="main")


def test_what_is_not_there_is_not_found(database: Database, endpoint: Endpoint, act: Act) -> None:
    with database.transaction() as connection:
        for look in (endpoints.get, lambda c, name: endpoints.pause(c, name, act)):
            with pytest.raises(NotFoundError) as caught:
                look(connection, "ep_unknown")
            assert caught.value.field == "endpoint"
        with pytest.raises(NotFoundError, match="participant"):
            endpoints.add(connection, "NOBODY", act, name="main", url=URL)
        with pytest.raises(NotFoundError, match="subscription"):
            endpoints.unsubscribe(connection, endpoint.id, ["market.#"], act)


def test_certificates_of_its_own_are_accepted(database: Database, act: Act) -> None:
    pem = trustme.CA().cert_pem.bytes().decode()
    with database.transaction() as connection:
        assert endpoints.add(connection, "PGAE", act, name="own", url=URL, ca_pem=pem).ca_pem == pem


def test_plain_http_is_allowed_only_where_it_is_asked_for(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        with pytest.raises(InvalidInputError, match="https"):
            endpoints.add(connection, "PGAE", act, name="main", url="http://localhost:8080/")
        local = endpoints.add(
            connection, "PGAE", act, name="main", url="http://localhost:8080/", allow_http=True
        )
        assert endpoints.change(connection, local.id, act, concurrency=1).concurrency == 1
        with pytest.raises(InvalidInputError, match="https"):
            endpoints.change(connection, local.id, act, url="http://localhost:8081/")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", " padded "),
        ("name", "x" * 101),
        ("name", "line\nbreak"),
        ("name", None),
        ("url", None),
        ("url", "receiver.example"),
        ("url", "ftp://receiver.example/"),
        ("url", "https://"),
        ("url", "https://user:word@receiver.example/"),
        ("url", "https://receiver.example/#part"),
        ("url", "https://receiver.example:99999/"),
        ("url", "https://receiver.example:0/"),
        ("url", "https://receiver.example/a b"),
        ("url", "https://receiver.example/\r\nHost: other"),
        ("url", "https://[::1/"),
        ("url", "https://receiver.example/" + "x" * 2048),
        ("mode", "both"),
        ("ordered", 1),
        ("latest_only", None),
        ("concurrency", 0),
        ("concurrency", 257),
        ("concurrency", 2.5),
        ("concurrency", True),
        ("rate_limit", 0),
        ("rate_limit", float("nan")),
        ("timeout_s", 301),
        ("timeout_s", "5"),
        ("age_limit_s", 59),
        ("schema_version", 0),
        ("ca_pem", "no certificate"),
        ("ca_pem", ""),
        ("colour", "red"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(
    shared_sqlite: Database, act: Act, field: str, value: object
) -> None:
    settings = {"name": "main", "url": URL, field: value}
    with shared_sqlite.transaction() as connection:
        participants.add(connection, "PGAE", "Pacific Gas", act)
        endpoint = endpoints.add(connection, "PGAE", act, name="first", url=URL)
        with pytest.raises(InvalidInputError) as caught:
            endpoints.add(connection, "PGAE", act, **settings)  # type: ignore[arg-type]
        assert caught.value.field == field
        with pytest.raises(InvalidInputError) as caught:
            endpoints.change(connection, endpoint.id, act, **{field: value})  # type: ignore[arg-type]
        assert caught.value.field == field
        connection.rollback()


def test_a_stream_has_no_url_and_a_subscription_must_match_something(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        with pytest.raises(InvalidInputError, match="url: belongs to webhooks"):
            endpoints.add(connection, "PGAE", act, kind="stream", name="main", url=URL)
        with pytest.raises(InvalidInputError, match="kind"):
            endpoints.add(connection, "PGAE", act, kind="fax", name="main")  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="subscription"):
            endpoints.add(connection, "PGAE", act, name="main", url=URL, subscriptions=["outages"])


async def test_of_two_changes_at_once_none_is_lost(database: Database, endpoint: Endpoint, act: Act) -> None:
    changed, leave = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        endpoints.change(connection, endpoint.id, act, timeout_s=5.0)
        changed.set()
        leave.wait(20)

    def somebody_waits() -> Awaitable[bool]:
        waiting = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return database.read(lambda connection: bool(connection.execute(waiting).scalar()))

    first = asyncio.create_task(database.run(slow))
    await eventually(changed.is_set)
    second = asyncio.create_task(
        database.run(lambda connection: endpoints.change(connection, endpoint.id, act, concurrency=3))
    )
    if not database.is_sqlite:  # which has one writer anyway
        look: Callable[[], bool | Awaitable[bool]] = somebody_waits
        await eventually(look)
    leave.set()
    await first
    now = await second
    assert (now.timeout_s, now.concurrency, now.revision) == (5.0, 3, endpoint.revision + 2)
