from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.broker import codec, frames, topology
from claimbus.broker.codec import Announcement, Death, Letter
from claimbus.broker.frames import Message, Properties
from claimbus.broker.topology import DEFAULT_LADDER
from claimbus.events.errors import InvalidTicketError
from claimbus.events.ticket import Ticket
from tests.broker.samples import only, ticket, to

names = st.text("abcdefgh-.", min_size=1, max_size=30)
tickets = st.builds(
    Ticket,
    claim_id=st.text("abcXYZ019-_", min_size=1, max_size=64),
    message_id=names,
    type=names,
    timestamp=st.integers(0, 2**40),
    expires=st.integers(0, 2**40),
    partitionkey=st.none() | names,
    sequence=st.none() | st.integers(0, 2**63 - 1),
    traceparent=st.none() | names,
    endpoint=st.none() | names,
    attempt=st.integers(0, 50),
    released=st.none() | st.integers(0, 2**40),
    replay=st.none() | names,
)


def read(message: Message) -> Properties:
    return frames.read_properties(bytes(12) + message.properties)


@given(tickets)
def test_a_ticket_survives_the_wire(sent: Ticket) -> None:
    message = codec.ticket_message(sent, to("all"))
    assert codec.read_ticket(read(message), message.body) == sent


@given(tickets.filter(lambda sent: sent.endpoint is not None))
def test_a_retry_carries_what_rabbitmq_would_forget_and_nothing_of_rabbitmqs(sent: Ticket) -> None:
    properties = read(codec.redelivery_message(sent))
    properties.headers.update({"x-death": [{"queue": "retry.5s"}], "x-delivery-count": 7})
    again = codec.retry_message(codec.read_ticket(properties, sent.body()), DEFAULT_LADDER[0])
    assert (again.exchange, again.key) == ("retry.5s", sent.endpoint)
    assert codec.read_ticket(read(again), again.body) == sent
    assert not any(name.startswith("x-") for name in read(again).headers)


def test_further_recipients_travel_in_bcc_only() -> None:
    message = codec.ticket_message(ticket(), to(frozenset({"PGAE", "SCE1", "ACES"})))
    assert message.key == "oms.resource-outage.changed.ACES"
    assert read(message).headers["BCC"] == [
        "oms.resource-outage.changed.PGAE",
        "oms.resource-outage.changed.SCE1",
    ]
    assert "BCC" not in read(codec.ticket_message(ticket(), only("PGAE"))).headers


def test_a_thousand_recipients_fit_a_frame() -> None:
    audience = frozenset(f"P{number:031}" for number in range(1000))
    frames.publish(1, 131072, codec.ticket_message(ticket(), to(audience)))


def test_a_retry_without_an_endpoint_is_refused() -> None:
    with pytest.raises(InvalidTicketError, match="endpoint"):
        codec.retry_message(ticket(), DEFAULT_LADDER[0])


@given(
    sent=tickets,
    endpoint=st.none() | names,
    cause=names,
    detail=st.text(max_size=3000),
    attempts=st.integers(0, 50),
    status=st.none() | st.integers(100, 599),
    died=st.none() | st.integers(1, 2**40),
)
def test_a_letter_survives_the_wire(
    *,
    sent: Ticket,
    endpoint: str | None,
    cause: str,
    detail: str,
    attempts: int,
    status: int | None,
    died: int | None,
) -> None:
    letter = Letter(
        body=sent.body(),
        ticket=sent,
        endpoint=endpoint,
        cause=cause,
        detail=detail,
        attempts=attempts,
        status=status,
        died=died,
    )
    message = codec.letter_message(letter)
    found = codec.read_letter(read(message), message.body, exchange="deadletters", routing_key="")
    if endpoint is not None:
        assert found.endpoint == endpoint
    assert replace(found, endpoint=None, ticket=None) == replace(
        letter, endpoint=None, ticket=None, detail=detail[: codec.MAX_DETAIL]
    )
    assert found.ticket == replace(sent, endpoint=endpoint or sent.endpoint)


def test_what_is_no_ticket_becomes_a_letter_with_its_bytes() -> None:
    letter = Letter(
        body=b"\x00" * 100, ticket=None, endpoint="e1", cause="corrupt", detail="no ticket", attempts=0
    )
    message = codec.letter_message(letter)
    assert codec.read_letter(read(message), message.body, exchange="deadletters", routing_key="") == letter


@pytest.mark.parametrize(
    ("headers", "endpoint", "cause"),
    [
        ({"x-death": [{"queue": "endpoint.e.1.3", "reason": "expired", "count": 1}]}, "e.1", "expired"),
        (
            {"x-death": [{"queue": "endpoint.e1.3", "reason": "delivery_limit", "count": 1}]},
            "e1",
            "delivery-limit",
        ),
        ({"x-death": "forged", "endpoint": 7, "attempts": "many"}, None, "unknown"),
        ({}, None, "unknown"),
    ],
)
def test_any_message_can_be_read_as_a_letter(
    headers: dict[str, object], endpoint: str | None, cause: str
) -> None:
    letter = codec.read_letter(
        Properties(None, None, None, headers), b"body", exchange="deadletters", routing_key=""
    )
    assert (letter.endpoint, letter.cause, letter.ticket, letter.body) == (endpoint, cause, None, b"body")
    assert "no ticket" in letter.detail or cause != "unknown"


def test_of_the_brokers_deaths_the_last_one_is_believed() -> None:
    deaths = [
        {"queue": "endpoint.e1.2", "reason": "expired", "count": 1},
        {"queue": "retry.5s", "reason": "expired", "count": 4},
    ]
    assert codec.broker_death({"x-death": deaths}) == Death("endpoint.e1.2", "expired", 1)
    assert codec.broker_death({"x-death": []}) is None


def test_an_announcement_survives_the_wire() -> None:
    message = codec.announcement_message(Announcement("e1", "held"))
    assert (message.exchange, message.mandatory) == (topology.CONTROL, False)
    assert codec.read_announcement(message.body) == Announcement("e1", "held")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"7",
        b"\xff",
        b'{"endpoint": 7, "what": "held"}',
        b'{"endpoint": "e", "what": "sold"}',
    ],
)
def test_an_announcement_of_another_version_is_passed_over(body: bytes) -> None:
    assert codec.read_announcement(body) is None
